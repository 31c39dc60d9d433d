"""The database in a file of SQLite: one thread that writes, reads on the event loop's own."""
