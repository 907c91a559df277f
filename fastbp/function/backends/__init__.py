"""Where a function is evaluated: here, compiled, vectorized, or in other processes."""
