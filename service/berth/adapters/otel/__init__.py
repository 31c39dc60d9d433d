"""Traces by OpenTelemetry. Its SDK is imported only if a collector is configured."""
