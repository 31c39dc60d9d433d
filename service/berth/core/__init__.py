"""The rules of the service: they use the messages of berth.v1, but no gRPC, HTTP client or SQL."""
