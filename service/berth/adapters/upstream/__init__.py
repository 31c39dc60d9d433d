"""The passthrough backends: keys, requests, retries and responses of a provider, over HTTP with aiohttp."""
