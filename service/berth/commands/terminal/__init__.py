"""What commands print on a terminal: tables, messages, progress and times."""
