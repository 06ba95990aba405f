"""Images that an Orthanc owes: the node asks its plugin for them and reads them there, instead of being sent them.

They are read over Orthanc's own interface, from its storage, or by DICOMweb. The list of what is owed stays in Orthanc. A
series is settled only when each of its images is recorded here, so nothing is lost, whichever of the two is stopped at what
moment; what was read twice is a duplicate.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from node.common.errors import ConfigurationError, InputError, RejectedError, StorageFullError, TransportError
from node.receive.dicomweb import DicomWebServer, DicomWebSource
from node.receive.index import InstanceIndex
from node.receive.orthanc_client import OrthancClient
from node.receive.orthanc_states import OrthancStates
from node.receive.storage import InstanceStore
from node.settings.tree import Settings

log = logging.getLogger(__name__)

#: What keeps failing in the same way is told once in this time.
_SAME_AGAIN_S = 600.0
#: Touched at every round, so that ``bmd-node health puller`` sees that the puller lives.
BEAT_FILE = "puller.beat"
#: Orthanc's names are five groups of eight hexadecimal digits; the file of an image is named by a UUID.
_ORTHANC_NAME = r"^[0-9a-f]{8}(-[0-9a-f]{8}){4}$"


def pull_until(stop: threading.Event, settings: Settings) -> None:
    """Read what Orthanc owes, and tell it what became of its studies, until ``stop`` is set; what goes wrong is told and
    tried again.

    Raises:
        ConfigurationError: neither is switched on, or see :class:`OrthancSource`.
    """
    if not settings.orthanc.is_asked:
        raise ConfigurationError("nothing is to be asked of an Orthanc: set orthanc.url, and orthanc.pull or orthanc.tell")
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    source = OrthancSource(settings) if settings.orthanc.pull else None
    states = OrthancStates(OrthancClient(settings.orthanc), settings) if settings.orthanc.tell else None
    failing = ""
    told_at = 0.0
    while not stop.is_set():
        (settings.state_dir / BEAT_FILE).touch()
        try:
            if source is not None:
                source.pull()
            if states is not None:
                states.round()
        except (TransportError, RejectedError, InputError, StorageFullError, SQLAlchemyError, OSError) as error:
            # the text of an error of the database holds the statement
            why = type(error).__name__ if isinstance(error, SQLAlchemyError) else str(error)
            if why != failing or time.monotonic() - told_at > _SAME_AGAIN_S:
                log.warning("Orthanc could not be asked for everything, or told; tried again: %s", why)
                failing, told_at = why, time.monotonic()
        else:
            if failing:
                log.info("Orthanc answers again")
            failing = ""
        stop.wait(settings.orthanc.poll_s)


class _Series(BaseModel):
    model_config = ConfigDict(frozen=True)
    id: str = Field(pattern=_ORTHANC_NAME)
    series_instance_uid: str = Field(pattern=r"^[0-9.]{1,64}$")
    mark: str = Field(pattern="^[0-9a-f]{64}$")
    instances: tuple[str, ...]


class _Study(BaseModel):
    model_config = ConfigDict(frozen=True)
    id: str = Field(pattern=_ORTHANC_NAME)
    study_instance_uid: str = Field(pattern=r"^[0-9.]{1,64}$")
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
        self._client = OrthancClient(settings.orthanc)
        self._storage_dir = settings.orthanc.storage_dir
        index = InstanceIndex.open(settings)
        self._store = InstanceStore(settings.state_dir, index, settings.listener.min_free_disk_mb * 1024 * 1024)
        self._dicomweb = (
            DicomWebSource(DicomWebServer(settings.dicomweb), self._store)
            if settings.orthanc.read_by == "dicomweb"
            else None
        )

    def pull(self) -> int:
        """Read everything that is owed now; returns the number of series.

        Raises:
            TransportError: Orthanc does not answer, or not as its plugin would; it still owes what was not read.
            RejectedError: it refuses the login, or has no such plugin.
            StorageFullError: there is too little room here.
        """
        n_series = 0
        while True:
            try:
                owed = _OWED.validate_json(self._client.ask("/bmd-node/owed"))
            except ValidationError as error:
                raise TransportError(f"{self._client.url} does not answer as its plugin would: update plugins/") from error
            for study in owed:
                for series in study.series:
                    self._read_series(study, series)
                    self._client.ask(f"/bmd-node/owed/{series.id}", series.mark.encode())
                n_series += len(study.series)
                log.info("Orthanc's study %s: %d series read", study.id, len(study.series))
            if not owed:
                return n_series

    def _read_series(self, study: _Study, series: _Series) -> None:
        if self._dicomweb is not None:
            try:
                self._dicomweb.take_series(study.study_instance_uid, series.series_instance_uid, len(series.instances))
            except InputError as error:
                # image by image, so that only what is unreadable is left out; what came already is a duplicate
                log.warning("Orthanc's series %s is read over its own interface: %s", series.id, error)
            else:
                return
        for instance_id in series.instances:
            self._read(instance_id)

    def _read(self, instance_id: str) -> None:
        copy = self._store.import_name()
        try:
            if self._storage_dir is None:
                copy.write_bytes(self._client.ask(f"/instances/{instance_id}/file"))
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
        attachment = _Attachment.model_validate_json(self._client.ask(f"/instances/{instance_id}/attachments/dicom/info"))
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
