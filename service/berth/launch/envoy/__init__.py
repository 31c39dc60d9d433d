"""The Envoy that `berth up` runs: finds its binary, starts, watches, drains and stops it."""
