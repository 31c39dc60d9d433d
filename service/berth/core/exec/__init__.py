"""Running commands of tenants in hosted containers."""
