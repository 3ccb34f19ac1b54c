"""What the conversion flows share: results, notifications, validation on a GPU pool."""
