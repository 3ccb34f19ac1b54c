"""Numbers that must stay exact: what they mean, followed through the graph."""
