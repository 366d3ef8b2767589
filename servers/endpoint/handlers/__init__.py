"""The handlers of MCP's methods, one module a part of the protocol. Each gives the JSON of its result."""
