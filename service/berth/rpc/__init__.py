"""The gRPC server. Only this package and `client` import grpc."""
