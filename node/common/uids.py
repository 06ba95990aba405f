"""UIDs derived by hash: the same input gives the same objects."""

from __future__ import annotations

import hashlib


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) from the SHA-256 of the parts.

    ``pydicom.uid.generate_uid(prefix=None)`` cannot: it ignores its entropy argument.
    """
    # each part with its length, so that ("ab", "c") and ("a", "bc") differ
    digest = hashlib.sha256(b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
