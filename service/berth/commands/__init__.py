"""The commands that are more than a start: one module for each group, and the options that all take."""
