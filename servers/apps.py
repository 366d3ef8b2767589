"""Django's view of the servers package."""

from django.apps import AppConfig


class ServersConfig(AppConfig):
    name = "servers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Say how services reach the workers, of which they know nothing."""
        from servers.services.tasks.hints import use_hint

        use_hint(_hint_workers)


def _hint_workers() -> None:
    # Celery is imported where the first task is accepted, and not by each command.
    from servers.tasks import hint_workers

    hint_workers()
