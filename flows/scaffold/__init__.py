"""The files that a team starts with: a spec, a fleet file and deployments, written from a few answers."""
