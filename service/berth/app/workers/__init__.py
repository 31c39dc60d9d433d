"""Several processes that serve together: their supervisor's view of them, and what one of them does."""
