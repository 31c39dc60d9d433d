"""The handlers of the contract's services, one module per service."""
