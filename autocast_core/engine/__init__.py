"""What an engine made of a model, as plain values: no runtime is imported here."""
