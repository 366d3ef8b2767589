"""PostgreSQL as a data source: read-only SQL over the tenant's own database, with the tenant's own role."""

from servers.execution.backends.postgres.backend import PostgresBackend

__all__ = ["PostgresBackend"]
