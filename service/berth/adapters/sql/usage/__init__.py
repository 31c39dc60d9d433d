"""Usage and budgets: what is counted with the rows of containers and files, and what is read."""
