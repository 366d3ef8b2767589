"""Django's view of the dashboard."""

from django.apps import AppConfig


class FrontendConfig(AppConfig):
    name = "frontend"
