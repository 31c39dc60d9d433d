"""The cache before providers: what it keeps, what ends an entry, and calls that are shared."""
