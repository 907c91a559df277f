"""Numerical derivatives of any function, with error bars."""
