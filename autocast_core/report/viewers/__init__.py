"""A conversion in other tools' viewers: node data for Model Explorer, a model with metadata for Netron."""
