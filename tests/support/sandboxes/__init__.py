"""What tests of sandboxes share: a driver, what an attacker tries, and users without rights."""
