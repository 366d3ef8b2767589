"""The dashboard's WebSocket routes, which ``config/asgi.py`` hands to Channels."""

from __future__ import annotations

from django.urls import path

from servers.consumers import LiveConsumer

websocket_urlpatterns = [path("app/<str:tenant>/live", LiveConsumer.as_asgi())]
