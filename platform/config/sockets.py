"""WebSockets while the process ends: those of MCP end themselves, once what they serve has ended. Decides nothing else.

uvicorn would close each at once, and what it serves would be cancelled, where a POST may end within the drain.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_ENDS_ITSELF: Final = "/mcp/"


class LingeringSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol. What it leaves open, uvicorn's deadline for the drain ends."""

    def shutdown(self) -> None:
        if self.handshake_complete and self.scope["path"].startswith(_ENDS_ITSELF):
            return
        super().shutdown()
