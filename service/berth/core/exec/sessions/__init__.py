"""Sessions: interpreters that keep their variables between execs."""
