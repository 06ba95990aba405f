"""The audit trail as DICOM audit messages, sent to a syslog server."""

from node.audit.forward import Forwarder
from node.audit.message import audit_message

__all__ = ["Forwarder", "audit_message"]
