"""Marina on one machine: embedded PostgreSQL and Redis, and the supervisor behind ``make run``.

Nothing here is imported by a server that runs elsewhere; it knows no Django and no table.
"""
