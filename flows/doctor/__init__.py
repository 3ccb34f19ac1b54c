"""Looks at this machine, its settings and the servers that they name, and says what to fix. It only reads."""
