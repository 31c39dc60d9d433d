"""Selection of the backend for a request, and ownership of the resources that it names."""
