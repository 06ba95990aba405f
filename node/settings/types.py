"""Types of values that the sections of the settings use."""

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
#: An address that a mail server without extensions accepts (RFC 5321), in ASCII and without a display name.
MailAddress = Annotated[str, Field(max_length=254, pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+$")]
#: A word or phrase to find in a text. It has at least one letter or digit, or it would be found everywhere.
Word = Annotated[str, Field(pattern=r"[^\W_]")]


class Section(BaseModel):
    """A section of the settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
