"""The OpenAPI document of the REST interface, generated from the contract."""
