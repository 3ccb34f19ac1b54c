"""What a conversion came to: what it gained, the target that it missed, and whether the source is to blame."""
