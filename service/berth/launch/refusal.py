"""The errors that are shown to people instead of a traceback."""


class StartError(Exception):
    """Berth, or a command, cannot start because of its configuration, its arguments or its environment.

    The message is for people; it has one line for each problem and contains no secrets.
    """


class ProcessEndedError(Exception):
    """Envoy or a worker exits or hangs again and again."""
