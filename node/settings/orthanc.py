"""Settings of the Orthanc that hands studies over, and of a DICOMweb server that images are retrieved from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from node.settings.types import Section, WebAddressOrNone


class OrthancSettings(Section):
    """The REST interface of an Orthanc that hands studies over. With ``url`` the node tells its plugin what became of the
    studies, and asks what people want measured again; it may also pull the images from there."""

    url: str = Field(default="", pattern=r"^(https?://[^\s@]+)?$")
    """Its address, such as ``http://127.0.0.1:8042``; empty: Orthanc is not asked."""

    user: str = ""
    """A user of Orthanc."""

    password_file: Path | None = None
    """File with the password of ``user`` and nothing else; relative as ``database_password_file``."""

    tell: bool = True
    """Tell Orthanc's plugin what became of the studies, and ask it which ones people want measured again there."""

    pull: bool = False
    """Ask Orthanc's plugin what it owes, and read the images from there, instead of waiting for them by C-STORE; the plugin
    needs ``"HandOver": "pull"``. With ``study.keep_days`` 0 the node holds them only while it works on them."""

    read_by: Literal["rest", "dicomweb"] = "rest"
    """How images are read if ``pull`` is on: over Orthanc's own interface, or by DICOMweb from the server in ``[dicomweb]``,
    which holds the same images: Orthanc's DICOMweb plugin, or another archive."""

    storage_dir: Path | None = None
    """Orthanc's StorageDirectory, if this machine sees it: images are read from there, as hard links where it lies on the
    file system of ``state_dir``, so that there is no second copy. Orthanc's StorageCompression must be off."""

    poll_s: float = Field(default=5.0, gt=0)
    """Time between two questions for what is owed."""

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
    """A DICOMweb server (PS3.18) that the node retrieves images from: ``bmd-node retrieve``, and ``orthanc.pull`` if
    ``orthanc.read_by`` is ``dicomweb``."""

    url: WebAddressOrNone = ""
    """Its base address, to which ``/studies`` is added, such as ``https://pacs.example.org/dicom-web``; empty: none is
    asked."""

    user: str = ""
    """User at the server; empty: no login, or the one of ``token_file``."""

    password_file: Path | None = None
    """File with the password of ``user`` and nothing else; relative as ``database_password_file``."""

    token_file: str = ""
    """File that holds a bearer token and nothing else; read anew for each study or series. Empty: none."""

    ca_file: str = ""
    """PEM file with the authorities that may have signed the server's certificate; empty: those of the system."""

    client_cert_file: str = ""
    """PEM file with the node's own certificate, and its key unless ``client_key_file`` holds it; empty: none is shown."""

    client_key_file: str = ""
    """PEM file with the key of ``client_cert_file``."""

    timeout_s: float = Field(default=60.0, gt=0)
    """Longest silence of the server, before an answer and in the middle of it."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.user and self.password_file is None:
            raise ValueError("user is set, so password_file must be set, too")
        if self.user and self.token_file:
            raise ValueError("user and token_file exclude each other: set one of them")
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file is the key of client_cert_file: set that, too")
        return self
