"""Blocked matrix products, packing, and products with vectors."""
