"""Checks of the gradient, the vjp and the jvp of any function."""
