"""Files as a data source: folders of this machine that the operator names, and S3-compatible storage."""

from servers.execution.backends.files.backend import FilesBackend

__all__ = ["FilesBackend"]
