"""What is added up over batches: sums in fields of dataclasses, exact sums, counts for percentiles."""
