"""Perturbed parameters, perturbed arguments, and differences carried forward."""
