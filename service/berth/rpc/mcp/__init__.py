"""MCP, the Model Context Protocol: its messages, and the tools through which models work in containers.

`handlers.mcp` reads a request and writes the answer; `server` has the methods of the protocol; `operations` calls what
the tools need, like any other call of the contract.
"""
