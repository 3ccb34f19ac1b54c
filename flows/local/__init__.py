"""This machine: the home folder, settings, sessions, the embedded server, runs that were left."""
