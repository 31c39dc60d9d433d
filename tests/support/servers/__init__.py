"""Real servers for tests: Berth, Envoy, Valkey."""
