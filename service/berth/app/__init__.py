"""The application: builds everything from the configuration, starts it, stops it in reverse order."""
