"""Bodies of requests and responses: JSON, forms, uploads and downloads."""
