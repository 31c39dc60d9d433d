"""TLS of the gRPC listener, and the certificates of clients: their names, and whether they are still valid."""
