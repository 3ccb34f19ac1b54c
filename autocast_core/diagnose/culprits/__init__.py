"""The culprits of a divergence: which nodes they are, what goes wrong there, and what fixes it."""
