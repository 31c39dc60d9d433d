"""A database that is measured and traced."""
