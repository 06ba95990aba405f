"""Kinds of values that settings have; :mod:`node.settings.tree` and its parts are made of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f]*[^\\\x00-\x1f ][^\\\x00-\x1f]*$")]
Port = Annotated[int, Field(ge=1, le=65535)]
#: Host name or address; empty: none.
HostOrNone = Annotated[
    str, Field(pattern=r"^([A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)?$")
]
#: Host name or address.
Host = Annotated[HostOrNone, Field(min_length=1)]
#: Web address; empty: none.
WebAddressOrNone = Annotated[str, Field(pattern=r"^(https?://[^\s/?#]+[^\s?#]*)?$")]
#: Web address.
WebAddress = Annotated[WebAddressOrNone, Field(min_length=1)]
#: An address as a mail server without extensions takes it (RFC 5321), in ASCII and without a display name.
MailAddress = Annotated[str, Field(max_length=254, pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+$")]
#: A word or phrase to find in a text; at least one letter or digit, or it would be found everywhere.
Word = Annotated[str, Field(pattern=r"[^\W_]")]


class Section(BaseModel):
    """A part of the settings: frozen, and a name that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
