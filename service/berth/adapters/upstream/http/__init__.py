"""HTTP to a provider: requests, retries, forms and downloads."""
