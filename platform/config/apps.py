"""Django's view of the composition root: it holds the operator's commands."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        """Bind tasks to Marina's Celery application in every process, or a hint would go to Celery's default broker."""
        from config import celery  # noqa: F401
