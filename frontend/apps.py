"""Django's view of the dashboard."""

from django.apps import AppConfig


class FrontendConfig(AppConfig):
    name = "frontend"

    def ready(self) -> None:
        """Register what the operator sees, once every model is known."""
        from frontend.operating import entries  # noqa: F401 - imported for what it registers
