"""The settings of traces and of the log."""
