"""Rules about what numbers do in 16 bits: ranges, small values, whole numbers, angles, guards, sums."""
