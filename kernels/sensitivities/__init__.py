"""Sweeps of the certified check: values, noise and the proof of the way back."""
