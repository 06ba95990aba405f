"""Images that an Orthanc owes: the node asks its plugin for them and reads them there, instead of being sent them.

The list of what is owed stays in Orthanc. A series is settled only when each of its images is recorded here, so nothing is
lost, whichever of the two is stopped at what moment; what was read twice is a duplicate.
"""

from __future__ import annotations

import base64
import logging
import os
import shutil
import threading
import urllib.error
import urllib.request
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from node.errors import ConfigurationError, InputError, StorageFullError, TransportError
from node.receive.index import InstanceIndex
from node.receive.storage import InstanceStore
from node.receive.studies import ReceivedStudies
from node.settings.files import secret_of
from node.settings.tree import Settings

log = logging.getLogger(__name__)

_TIMEOUT_S = 60.0
#: Orthanc's names are five groups of eight hexadecimal digits; the file of an image is named by a UUID.
_ORTHANC_NAME = r"^[0-9a-f]{8}(-[0-9a-f]{8}){4}$"


def pull_until(stop: threading.Event, settings: Settings) -> None:
    """Read what Orthanc owes until ``stop`` is set; what goes wrong is told and tried again.

    Raises:
        ConfigurationError: see :class:`OrthancSource`.
    """
    source = OrthancSource(settings)
    while not stop.is_set():
        try:
            source.pull()
        except (TransportError, StorageFullError, SQLAlchemyError, OSError) as error:
            log.warning("Orthanc still owes what it owed: %s", error)
        stop.wait(settings.orthanc.poll_s)


class _Series(BaseModel):
    model_config = ConfigDict(frozen=True)
    id: str = Field(pattern=_ORTHANC_NAME)
    mark: str = Field(pattern="^[0-9a-f]{64}$")
    instances: tuple[str, ...]


class _Study(BaseModel):
    model_config = ConfigDict(frozen=True)
    id: str = Field(pattern=_ORTHANC_NAME)
    study_instance_uid: str = Field(pattern=r"^[0-9.]{1,64}$")
    again: bool
    series: tuple[_Series, ...]


class _Attachment(BaseModel):
    """Orthanc's answer to ``/instances/{id}/attachments/dicom/info``; the file is named by a UUID."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    Uuid: str = Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    CompressedMD5: str
    UncompressedMD5: str


_OWED = TypeAdapter(tuple[_Study, ...])


class OrthancSource:
    """One Orthanc, and the store that its images go to."""

    def __init__(self, settings: Settings) -> None:
        """Open the store.

        Raises:
            ConfigurationError: the settings name no Orthanc, the file with its password or the database cannot be used.
        """
        orthanc = settings.orthanc
        if not orthanc.url:
            raise ConfigurationError("orthanc.pull is on, so orthanc.url must be set")
        self._url = orthanc.url.rstrip("/")
        self._storage_dir = orthanc.storage_dir
        password = secret_of(orthanc.password_file, "orthanc.password_file") if orthanc.password_file else ""
        self._login = base64.b64encode(f"{orthanc.user}:{password}".encode()).decode()
        self._studies = ReceivedStudies.open(settings)
        index = InstanceIndex.open(settings)
        self._store = InstanceStore(settings.state_dir, index, settings.listener.min_free_disk_mb * 1024 * 1024)

    def pull(self) -> int:
        """Read everything that is owed now; returns the number of series.

        Raises:
            TransportError: Orthanc does not answer, or not as its plugin would; it still owes what was not read.
            StorageFullError: there is too little room here.
        """
        n_series = 0
        while True:
            try:
                owed = _OWED.validate_json(self._ask("/bmd-node/owed"))
            except ValidationError as error:
                raise TransportError(f"{self._url} does not answer as its plugin would: update plugins/") from error
            for study in owed:
                for instance_id in (instance_id for series in study.series for instance_id in series.instances):
                    self._read(instance_id)
                if study.again:
                    self._measure_again(study.study_instance_uid)
                for series in study.series:
                    self._ask(f"/bmd-node/owed/{series.id}", series.mark.encode())
                n_series += len(study.series)
                log.info("Orthanc's study %s: %d series read", study.id, len(study.series))
            if not owed:
                return n_series

    def _measure_again(self, study_instance_uid: str) -> None:
        """A person asked for it in Orthanc; asked twice before a worker has taken it, it stays one request."""
        try:
            self._studies.ask_for_rerun(study_instance_uid)
        except InputError as error:
            log.error("study %s is not measured again: %s", study_instance_uid, error)  # noqa: TRY400 - the message says it all

    def _read(self, instance_id: str) -> None:
        copy = self._store.import_name()
        try:
            if self._storage_dir is None:
                copy.write_bytes(self._ask(f"/instances/{instance_id}/file"))
            else:
                self._from_storage(instance_id, self._storage_dir, copy)
            self._store.take(copy, association_id=None)
        except InputError as error:
            # it will not become readable by asking again, and must not keep the others from the node
            log.error("Orthanc's instance %s is left out: %s", instance_id, error)  # noqa: TRY400 - the message says it all
        finally:
            copy.unlink(missing_ok=True)

    def _from_storage(self, instance_id: str, storage_dir: Path, copy: Path) -> None:
        """Link Orthanc's own file, or copy it where links do not reach.

        Orthanc never writes to a file again (it removes it), and neither does the node, so that both may hold it.
        """
        attachment = _Attachment.model_validate_json(self._ask(f"/instances/{instance_id}/attachments/dicom/info"))
        if attachment.CompressedMD5 != attachment.UncompressedMD5:
            raise TransportError("Orthanc compresses its storage: set StorageCompression to false, or leave storage_dir out")
        file = storage_dir / attachment.Uuid[0:2] / attachment.Uuid[2:4] / attachment.Uuid
        try:
            os.link(file, copy)
        except OSError:
            try:
                shutil.copyfile(file, copy)
            except OSError as error:
                raise TransportError(f"orthanc.storage_dir does not hold {file}: {error.strerror}") from error

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self._url + path, body, {"Authorization": f"Basic {self._login}"})  # noqa: S310 - the settings allow http and https only
        # a proxy of the environment is meant for the world outside
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as response:
                content: bytes = response.read()
        except (urllib.error.URLError, OSError) as error:
            raise TransportError(f"Orthanc at {self._url} does not answer {path}: {error}") from error
        return content
