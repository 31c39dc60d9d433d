"""The supervisor of a session: it stops the processes of the sandbox between two programs."""
