"""``marina-stdio URL``: a bridge from a host's pipes to an MCP endpoint. It starts in an instant and imports little.

``wire`` knows the messages, ``pipes`` the host, ``upstream`` HTTP; ``tools`` mirrors arguments into headers;
``bridge`` keeps the conversation, and ``command`` reads what the host wrote on the command line.
"""

from marina.stdio.command import main

__all__ = ["main"]
