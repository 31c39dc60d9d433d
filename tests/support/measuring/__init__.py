"""Memory, and secrets that leaked."""
