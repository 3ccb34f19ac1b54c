"""What is asked of a flow: the spec, fleet files, tags of the registry, and what a service permits."""
