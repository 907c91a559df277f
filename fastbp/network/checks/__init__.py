"""Checks of a network's gradients, one module for each way of checking."""
