"""SQLite files as a kind of data source: below the folders that the operator allows."""

from servers.execution.backends.sqlite.backend import SqliteBackend

__all__ = ["SqliteBackend"]
