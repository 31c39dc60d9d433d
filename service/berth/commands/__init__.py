"""The commands of the command line: one module per group, the shared options, and the output."""
