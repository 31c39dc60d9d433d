"""What keeps the database small: the removal of deleted rows, the return of free space, and a reserve for deletes."""
