"""Errors of the node.

Each error says whether trying again can help::

    NodeError
    ├── PermanentError            trying again with the same input cannot help
    │   ├── ConfigurationError    the settings are wrong: says which one and what to write
    │   ├── InputError            the input can't be read: says which file and why
    │   └── RejectedError         the other side refused for good (class not supported, AE title unknown)
    └── RetriableError            the same call may go through later
        ├── TransportError        no connection, time-out, association aborted
        └── StorageFullError      no room on the disk

That a study cannot be measured is no error but a result: see ``StudyResult.status`` and ``StudyResult.reasons``.
"""


class NodeError(Exception):
    """Base of all errors that the node raises on purpose; the message is for a person and carries no patient data."""

    retriable: bool = False

    @property
    def said(self) -> str:
        """The message as it was given: a phrase stays one, and can be said in another language."""
        return self.args[0] if self.args and isinstance(self.args[0], str) else str(self)


class PermanentError(NodeError):
    """Trying again with the same input cannot help."""


class ConfigurationError(PermanentError):
    """The settings are wrong; the message says which one and what to write."""


class InputError(PermanentError):
    """The input cannot be read; the message says which file and why."""


class RejectedError(PermanentError):
    """The other side refused for good."""


class RetriableError(NodeError):
    """The same call may go through later."""

    retriable = True


class TransportError(RetriableError):
    """No connection, a time-out, or an aborted association."""


class StorageFullError(RetriableError):
    """No room on the disk."""
