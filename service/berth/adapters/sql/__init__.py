"""The stores, on a relational database."""
