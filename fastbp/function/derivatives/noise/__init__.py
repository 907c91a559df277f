"""The noise of f: what short steps show of it, and what only longer ones do."""
