"""What a process needs from the system before anything else: streams, signals, files, and a parent in a container."""
