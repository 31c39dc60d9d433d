"""Commands for the stores as a whole: backups, and moves to others."""
