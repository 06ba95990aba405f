"""Who may change something through the plugin.

Browsers add a login to every request, also to one that a page of somebody else makes. What is sent by POST therefore needs a
proof that a page of this plugin, or a program, has sent it. What the node reports is taken only from the node's own user.

Uses only the standard library, because it runs in the Python of Orthanc.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

#: A program sends this header with any value. A page of another site cannot: browsers ask first, Orthanc does not allow it.
PROGRAM_HEADER = "x-bmd-node"
#: Field of the form with the token.
TOKEN_FIELD = "token"  # noqa: S105 - its name

#: The node's own metadata, by number and by the name in ``UserMetadata``: what it has, and what it reported.
_OWN_METADATA = re.compile(r"/(?:series|studies)/[^/]+/metadata/(?:10431|10432|BmdNodeHandedOver|BmdNodeTold)/*")


@dataclass(frozen=True)
class Guard:
    """Decides on requests.

    Attributes:
        node_user: Orthanc's user of the node; empty: any user, since something else decides who reaches the plugin.
        is_authenticated: whether Orthanc has checked the login; a name that nobody has checked proves nothing.
    """

    node_user: str
    is_authenticated: bool
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def token(self, study_id: str, headers: Mapping[str, str]) -> str:
        """The proof that a page for this study and this user was made here since Orthanc's start."""
        meant = f"{user_of(headers)}\n{study_id}"
        return hmac.new(self._secret, meant.encode(), hashlib.sha256).hexdigest()

    def is_asked_here(self, study_id: str, headers: Mapping[str, str], body: bytes | str) -> bool:
        """Whether the page of the study, or a program, has sent a POST."""
        if _is_of_another_site(headers):
            return False
        if PROGRAM_HEADER in _lower(headers):
            return True
        text = body if isinstance(body, str) else body.decode("utf-8", "replace")
        sent = parse_qs(text).get(TOKEN_FIELD, [""])[0]
        return hmac.compare_digest(sent.encode(), self.token(study_id, headers).encode())

    def is_node(self, headers: Mapping[str, str]) -> bool:
        """Whether the node sends a request."""
        if _is_of_another_site(headers):
            return False
        return not self.node_user or not self.is_authenticated or user_of(headers) == self.node_user

    def may_change(self, uri: str, headers: Mapping[str, str]) -> bool:
        """Whether a request that is no GET may reach Orthanc's own REST API: the node's metadata are the node's."""
        return _OWN_METADATA.fullmatch(uri) is None or self.is_node(headers)


def user_of(headers: Mapping[str, str]) -> str:
    """The user of a request (RFC 7617), whom Orthanc has checked; empty if there is none."""
    scheme, _, value = _lower(headers).get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _is_of_another_site(headers: Mapping[str, str]) -> bool:
    """Whether the browser says that a page of another site has sent the request (W3C Fetch Metadata)."""
    return _lower(headers).get("sec-fetch-site", "") in ("cross-site", "same-site")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
