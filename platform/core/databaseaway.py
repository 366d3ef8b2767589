"""What is raised when the database is away, whichever layer says it first."""

from __future__ import annotations

from typing import Final

import psycopg
from django.db import InterfaceError, OperationalError

DATABASE_AWAY: Final = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
"""Django's two, and the driver's own: Django does not translate what closing an iterator's cursor raises."""
