"""Why Berth does not start: what people read instead of a traceback."""


class StartError(Exception):
    """Something in the configuration or the surroundings forbids the start.

    The text is for people, one line for each problem, without secrets.
    """
