"""What runs a Berth in the foreground, and configures an Envoy for one."""
