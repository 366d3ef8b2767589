"""Every HTTP route that Django serves. ``/mcp/…`` never comes here: ``config/asgi.py`` routes it first."""

from __future__ import annotations

from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from config.health import health, ready
from frontend.operating.site import site as operator_site
from frontend.views import sign_ins
from tenants.api.auditing import log_keys, verifier

urlpatterns = [
    path("", RedirectView.as_view(url="/app/")),
    path("health", health, name="health"),
    path("ready", ready, name="ready"),
    path(".well-known/marina-log-keys", log_keys, name="log_keys"),
    path("verifiers/<str:name>", verifier, name="verifier"),
    path("api/v1/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/", include("tenants.api.urls")),
    path("api/v1/", include("servers.api.urls")),
    path("upstream/back", sign_ins.back, name="upstream_back"),
    path("upstream/client.json", sign_ins.client_json, name="upstream_client"),
    path("app/", include("frontend.urls")),
    path("operator/", operator_site.urls),
    path("", include("frontend.oauth.urls")),
]
