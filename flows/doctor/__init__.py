"""Looks at this machine, its settings and the servers that they name, and says what to mend. It only reads."""
