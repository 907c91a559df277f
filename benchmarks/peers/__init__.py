"""The same work in fastbp, NumPy, torch and JAX, side by side in one run: see ``__main__``."""
