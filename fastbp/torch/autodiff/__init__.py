"""What torch makes of a function: its values, and its derivatives in both modes."""
