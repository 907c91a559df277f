"""Nested arguments and gradients: taken apart, and put together again."""
