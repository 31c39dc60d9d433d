"""What is traced and measured of the work on calls: spans, the context of traces, and stores that report."""
