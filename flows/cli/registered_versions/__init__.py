"""Commands on one registered version: review, promote, sign, verify and export."""
