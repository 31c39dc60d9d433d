"""Where file content is kept: in a folder."""
