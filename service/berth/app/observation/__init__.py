"""What measures and traces the work on calls, and the collector that both are sent to."""
