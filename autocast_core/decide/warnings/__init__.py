"""What a plan's decisions do to weights and values, and the warnings of it."""
