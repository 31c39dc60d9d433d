"""The interceptors that run before every handler, one module each."""
