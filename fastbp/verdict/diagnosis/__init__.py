"""Diagnosis from arrays alone: a wrong gradient beside the right one."""
