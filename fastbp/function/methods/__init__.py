"""The methods of a check: every entry, or probing along random directions."""
