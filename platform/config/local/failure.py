"""The two ways a local start ends early. They carry text for a person and nothing else."""

from __future__ import annotations


class StartError(Exception):
    """Marina does not start, or a part of it has ended. The message says the cause, then what to do."""


class StopRequested(Exception):
    """A signal, or a closed terminal, asks for an orderly end."""
