"""Errors of the node.

Each error says whether a retry can help::

    NodeError
    ├── PermanentError            a retry with the same input cannot help
    │   ├── ConfigurationError    the settings are wrong: says which one and what to write
    │   ├── InputError            the input cannot be read: says which file and why
    │   └── RejectedError         the other side refused permanently (class not supported, AE title unknown)
    └── RetriableError            the same call may succeed later
        ├── TransportError        no connection, time-out, association aborted
        └── StorageFullError      disk full

A study that cannot be measured is not an error but a result: see ``StudyResult.status`` and ``StudyResult.reasons``.
"""


class NodeError(Exception):
    """Base of all errors raised by the node; the message is for people and contains no patient data."""

    retriable: bool = False

    @property
    def said(self) -> str:
        """The original message: a phrase remains one and can be translated."""
        return self.args[0] if self.args and isinstance(self.args[0], str) else str(self)


class PermanentError(NodeError):
    """A retry with the same input cannot help."""


class ConfigurationError(PermanentError):
    """The settings are wrong; the message says which one and what to write."""


class InputError(PermanentError):
    """The input cannot be read; the message says which file and why."""


class RejectedError(PermanentError):
    """The other side refused permanently."""


class RetriableError(NodeError):
    """The same call may succeed later."""

    retriable = True


class TransportError(RetriableError):
    """No connection, a time-out, or an aborted association."""


class StorageFullError(RetriableError):
    """The disk is full."""
