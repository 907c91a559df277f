"""Numerical gradients of a network, by finite differences."""
