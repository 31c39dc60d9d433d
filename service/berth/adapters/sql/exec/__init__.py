"""The stores of execs, and what commands change in files."""
