"""Jacobians and Hessians: given matrices beside differences, entry by entry."""
