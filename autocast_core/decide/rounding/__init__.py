"""What rounding does beyond its own size: amplified, or turning a guard into zero."""
