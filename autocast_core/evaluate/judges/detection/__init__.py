"""What the judge of boxes is made of: reading outputs, overlaps and suppression, average precision."""
