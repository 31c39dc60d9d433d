"""The transport of grpc.aio: HTTP/2, with or without TLS."""
