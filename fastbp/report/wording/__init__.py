"""Numbers, names and tables, put into text."""
