"""Which value of a candidate is which of the reference, and the nodes between matched values."""
