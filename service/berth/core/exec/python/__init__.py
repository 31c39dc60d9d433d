"""Running Python code: the program that runs it in a sandbox, and what Berth exchanges with it."""
