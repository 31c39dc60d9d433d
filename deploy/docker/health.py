"""Ends with 0 if the Berth of this container serves calls: its overall gRPC health is SERVING. Without TLS only."""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
with grpc.insecure_channel(address) as channel:
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=8)  # type: ignore[attr-defined]
    except grpc.RpcError as error:
        sys.exit(f"no answer from {address}: {error.code().name}")
sys.exit(answer.status != health_pb2.HealthCheckResponse.SERVING)
