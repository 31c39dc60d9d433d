"""The processes of workers, and what they and their supervisor say to each other."""
