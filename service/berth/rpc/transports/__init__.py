"""How calls arrive: what a transport does for them, and the transports themselves."""
