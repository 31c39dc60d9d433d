"""What JSON needs and gRPC does not: Envoy's view of the contract."""
