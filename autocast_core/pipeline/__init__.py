"""The stages of a conversion, composed once."""
