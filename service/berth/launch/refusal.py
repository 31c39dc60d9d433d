"""The error that is shown to people instead of a traceback."""


class StartError(Exception):
    """Berth, or a command, cannot start because of its configuration, its arguments or its environment.

    The message is for people; it has one line for each problem and contains no secrets.
    """
