"""What a destination would take, asked by an association that proposes and sends nothing (PS3.8 section 7.1)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom.presentation import build_context

from node.deliver.association import associated
from node.settings import Destination


def accepted_classes(
    destination: Destination, sop_class_uids: Sequence[UID], calling_ae_title: str, timeout_s: float
) -> frozenset[UID]:
    """Propose storage classes, and release the association at once.

    Args:
        sop_class_uids: proposed in Explicit VR Little Endian, in which the node writes.
        calling_ae_title: used if the destination names none of its own.
        timeout_s: for the connection and the association.

    Returns:
        Those that the destination accepts.

    Raises:
        TransportError: no connection, a time-out or an abort.
        RejectedError: the association was rejected for good.
    """
    calling = destination.calling_ae_title or calling_ae_title
    contexts = [build_context(uid, [ExplicitVRLittleEndian]) for uid in sop_class_uids]
    with associated(destination, calling, timeout_s, contexts) as assoc:
        if assoc is None:
            return frozenset()
        return frozenset(cx.abstract_syntax for cx in assoc.accepted_contexts if cx.as_scu and cx.abstract_syntax)
