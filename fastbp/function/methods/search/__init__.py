"""From random directions down to the wrong entries of a gradient."""
