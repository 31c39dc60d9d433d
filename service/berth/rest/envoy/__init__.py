"""The Envoy configuration: one generator for `berth up`, an edge and a sidecar."""
