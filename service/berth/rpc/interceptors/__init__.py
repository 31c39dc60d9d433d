"""What every call passes before its handler, one module each."""
