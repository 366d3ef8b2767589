"""The kind ``flows``: tools made of other tools, as pipelines and workflows."""

from servers.execution.backends.flows.backend import FlowsBackend

__all__ = ["FlowsBackend"]
