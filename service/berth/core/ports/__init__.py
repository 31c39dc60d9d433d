"""The interfaces that the rules need and the adapters implement."""
