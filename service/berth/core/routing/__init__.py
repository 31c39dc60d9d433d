"""Which backend a request goes to, and whether the caller may use what it names."""
