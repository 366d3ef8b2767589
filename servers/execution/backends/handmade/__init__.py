"""Resources and prompts that a team writes itself. One folder, like every kind of data source."""

from servers.execution.backends.handmade.backend import HandmadeBackend

__all__ = ["HandmadeBackend"]
