"""A server of FastMCP's, unmodified, in an environment of its own. In: the port that it is to listen on."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fastmcp import FastMCP

server = FastMCP("fast")


@dataclass
class Sum:
    """What two numbers are together."""

    total: int


@server.tool
def add(a: int, b: int) -> Sum:
    """Adds two numbers."""
    return Sum(a + b)


server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False)
