"""Installed plugins as kinds of data source: each one is a kind of its own."""

from servers.execution.backends.plugins.discovery import load_plugins

__all__ = ["load_plugins"]
