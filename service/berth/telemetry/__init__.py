"""How Berth is observed: logging."""
