"""Diagnosis of a network: the backward pass computed again with one thing changed."""
