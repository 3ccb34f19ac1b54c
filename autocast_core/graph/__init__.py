"""Questions about a graph: walking it and its bodies, names, constants, the structure that a plan belongs to."""
