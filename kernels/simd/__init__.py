"""Explicit vectors, each with its twin in plain Python."""
