"""The egress proxy: the way from a sandbox to the domains that its container may reach, in a process of its own."""
