"""Opens the configured stores; backs them up, restores them and copies them."""
