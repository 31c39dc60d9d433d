"""The core's ports on outside libraries, one library to a module."""
