"""What only speaks HTTP to a provider: requests, retries, forms, downloads."""
