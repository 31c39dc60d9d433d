"""The transport of the own Envoy: messages of gRPC over HTTP/1.1, on a Unix socket.

Requests and responses are those of gRPC over HTTP/2: the same headers and messages, with the status in trailers. A
connection has one call at a time.
"""
