"""Whether values fit the range of a 16-bit type: limits, margins, infinities, and what BF16 holds instead of FP16."""
