"""The rules. Knows berth.v1's messages; no grpc, no HTTP client, no SQL."""
