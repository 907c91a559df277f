"""Weight gradients in tiles, compared with given ones while they are in the cache."""
