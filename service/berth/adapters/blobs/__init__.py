"""The content store, in a folder."""
