"""Who a caller is, and how much a caller may do."""
