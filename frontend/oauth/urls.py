"""The addresses of each team's issuer and of what its servers say of themselves. Fixed: clients hold them."""

from __future__ import annotations

from django.urls import path

from frontend.oauth import consent, metadata, registration, tokens

app_name = "oauth"

urlpatterns = [
    path(
        ".well-known/oauth-authorization-server/oauth/<str:tenant>", metadata.issuer_metadata, name="issuer"
    ),
    path(
        ".well-known/oauth-protected-resource/mcp/<str:tenant>", metadata.resource_metadata, name="resource"
    ),
    path(".well-known/oauth-protected-resource/mcp/<str:tenant>/<str:server>", metadata.resource_metadata),
    # Where clients look in vain: of interest to whoever looks for the reason.
    path(".well-known/oauth-protected-resource", metadata.misplaced),
    path(".well-known/oauth-protected-resource/<path:rest>", metadata.misplaced),
    path(".well-known/oauth-authorization-server", metadata.misplaced),
    path(".well-known/oauth-authorization-server/<path:rest>", metadata.misplaced),
    path(".well-known/openid-configuration", metadata.misplaced),
    path(".well-known/openid-configuration/<path:rest>", metadata.misplaced),
    path("oauth/<path:rest>/.well-known/oauth-authorization-server", metadata.misplaced),
    path("oauth/<path:rest>/.well-known/openid-configuration", metadata.misplaced),
    path("oauth/<str:tenant>/authorize", consent.authorize, name="authorize"),
    path("oauth/<str:tenant>/token", tokens.token, name="token"),
    path("oauth/<str:tenant>/revoke", tokens.revoke, name="revoke"),
    path("oauth/<str:tenant>/register", registration.register, name="register"),
    path("oauth/<str:tenant>/introspect", tokens.introspect, name="introspect"),
]
