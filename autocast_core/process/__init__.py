"""This process: when garbage is collected, what is imported late."""
