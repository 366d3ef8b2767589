"""What a plugin's functions raise, and what they may catch. Nothing here reaches a client but by intent.

    ToolError            the model reads the message, and can mend what it did
    ResourceNotFound     there is no such resource
    AskFailed            the client gave no answer to a question
    ├── ClientCannot     it does not offer what was asked for
    ├── ClientRefused    it answered with an error
    └── ClientSilent     it did not answer in time

Any other exception tells the client nothing but that the plugin failed; its text goes to Marina's own log.
"""

from __future__ import annotations


class ToolError(Exception):
    """A failure that the caller should read: the cause, then what to do. Never put a secret into it."""


class ResourceNotFound(Exception):
    """There is no resource at the URI that a template was asked for."""


class AskFailed(Exception):
    """The client was asked and gave no answer. Catch it where the work can go on without one."""


class ClientCannot(AskFailed):
    """The client did not declare the capability that the question needs."""


class ClientRefused(AskFailed):
    """The client answered with an error instead of a result."""


class ClientSilent(AskFailed):
    """The client did not answer in the time that the call had."""


class DeclarationError(TypeError):
    """Something is declared in a way that cannot work. Raised when the plugin is imported, never during a call."""


class ArgumentsUnfit(Exception):
    """What a caller gave does not fit the parameters. ``faults`` are paths with what is expected, without values."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in faults))
        self.faults = faults
