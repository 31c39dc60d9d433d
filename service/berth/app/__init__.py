"""The composition root: builds all objects from the configuration, starts them, and closes them in reverse order."""
