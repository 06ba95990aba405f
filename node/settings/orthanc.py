"""Settings of the Orthanc that hands studies over, and of a DICOMweb server for retrieving images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from node.settings.types import Section, WebAddressOrNone


class OrthancSettings(Section):
    """The REST interface of an Orthanc that hands studies over. With ``url`` the node reports the state of the studies to
    Orthanc's plugin, and asks which ones people want measured again. It can also pull the images from there."""

    url: str = Field(default="", pattern=r"^(https?://[^\s@]+)?$")
    """Address of Orthanc, such as ``http://127.0.0.1:8042``; empty: Orthanc is not contacted."""

    user: str = ""
    """User at Orthanc."""

    password_file: Path | None = None
    """File with the password of ``user`` and nothing else; relative as ``database_password_file``."""

    tell: bool = True
    """Report the state of the studies to Orthanc's plugin, and ask which ones people want measured again."""

    pull: bool = False
    """Ask Orthanc's plugin for new studies and read their images from there, instead of waiting for C-STORE. For this the
    plugin needs ``"HandOver": "pull"``. With ``study.keep_days`` 0 the node keeps the images only while it works on them."""

    read_by: Literal["rest", "dicomweb"] = "rest"
    """How images are read if ``pull`` is on: ``rest``, by Orthanc's own interface, or ``dicomweb``, from the server in
    ``[dicomweb]``, which has the same images: Orthanc's DICOMweb plugin, or another archive."""

    storage_dir: Path | None = None
    """Orthanc's StorageDirectory, if this machine has access to it: images are read from there. On the file system of
    ``state_dir`` they are hard links, so that there is no second copy. Orthanc's StorageCompression must be off."""

    poll_s: float = Field(default=5.0, gt=0)
    """Seconds between questions for new studies."""

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.pull and not self.url:
            raise ValueError("pull is on, so url must be set: the address of Orthanc, such as http://127.0.0.1:8042")
        if self.storage_dir is not None and self.read_by == "dicomweb":
            raise ValueError("storage_dir and read_by = dicomweb exclude each other: leave one of them out")
        return self

    @property
    def is_asked(self) -> bool:
        """Whether the puller has anything to do."""
        return bool(self.url) and (self.pull or self.tell)


class DicomWebSettings(Section):
    """A DICOMweb server (PS3.18) for retrieving images: for ``bmd-node retrieve``, and for ``orthanc.pull`` if
    ``orthanc.read_by`` is ``dicomweb``."""

    url: WebAddressOrNone = ""
    """Base address of the server, without ``/studies``, such as ``https://pacs.example.org/dicom-web``; empty: none."""

    user: str = ""
    """User at the server; empty: no login, or the token in ``token_file``."""

    password_file: Path | None = None
    """File with the password of ``user`` and nothing else; relative as ``database_password_file``."""

    token_file: str = ""
    """File with a bearer token and nothing else; read again for each study or series. Empty: none."""

    ca_file: str = ""
    """PEM file with the authorities that may have signed the server's certificate; empty: those of the system."""

    client_cert_file: str = ""
    """PEM file with the node's own certificate, and its key unless ``client_key_file`` holds it; empty: none."""

    client_key_file: str = ""
    """PEM file with the key of ``client_cert_file``."""

    timeout_s: float = Field(default=60.0, gt=0)
    """Longest time without data from the server, before or within an answer, in seconds."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.user and self.password_file is None:
            raise ValueError("user is set, so password_file must be set, too")
        if self.user and self.token_file:
            raise ValueError("user and token_file exclude each other: set one of them")
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file is the key of client_cert_file: set client_cert_file, too")
        return self
