"""The way to a provider on aiohttp: its keys, what is sent, when it is sent again, and what its answers mean."""
