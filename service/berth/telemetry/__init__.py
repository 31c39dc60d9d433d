"""Sets up logging."""
