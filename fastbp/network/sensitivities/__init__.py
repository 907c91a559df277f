"""Sensitivities: how the loss answers to every unit in every sample."""
