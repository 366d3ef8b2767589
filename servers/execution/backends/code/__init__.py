"""The kind ``code``: tools that are a team's own Python, in a sandbox."""

from servers.execution.backends.code.backend import CodeBackend

__all__ = ["CodeBackend"]
