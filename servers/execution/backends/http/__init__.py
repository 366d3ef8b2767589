"""HTTP APIs as a data source: tools made by hand, and of OpenAPI documents."""

from servers.execution.backends.http.backend import HttpBackend

__all__ = ["HttpBackend"]
