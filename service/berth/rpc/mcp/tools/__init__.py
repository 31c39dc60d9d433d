"""The tools that MCP serves, by what they work on."""
