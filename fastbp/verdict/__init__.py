"""Given against numerical: which entries are wrong, and the verdict of an array."""
