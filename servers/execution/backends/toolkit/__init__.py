"""The data toolkit: small tools that only compute, for every team. One folder, like every kind of data source."""

from servers.execution.backends.toolkit.backend import ToolkitBackend

__all__ = ["ToolkitBackend"]
