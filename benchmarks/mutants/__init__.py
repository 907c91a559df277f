"""Do the tests notice when what decides on a verdict is changed? See ``__main__.py``."""
