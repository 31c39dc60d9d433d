"""The interfaces that the core needs and the adapters implement."""
