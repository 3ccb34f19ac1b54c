"""What rounding does to a result: amplified, hidden in a sum, or turning a guard into zero."""
