"""Copies all rows from one database into another, of either kind, and compares them."""
