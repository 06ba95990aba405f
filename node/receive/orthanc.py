"""Pulls pending images from Orthanc: the node asks its plugin for them and reads them there, instead of receiving them.

They are read over Orthanc's REST API, from its storage, or by DICOMweb. Orthanc keeps the list of pending images. A series
is done only when all its images are recorded here, so nothing is lost if either side stops at any moment; images read twice
are duplicates.
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
from node.common.private import keep_private
from node.receive.dicomweb import DicomWebServer, DicomWebSource
from node.receive.index import InstanceIndex
from node.receive.orthanc_client import OrthancClient
from node.receive.orthanc_states import OrthancStates
from node.receive.storage import InstanceStore
from node.settings.tree import Settings

log = logging.getLogger(__name__)

#: A repeated failure is logged once in this time.
_SAME_AGAIN_S = 600.0
#: Touched in every round, as heartbeat for ``bmd-node health puller``.
BEAT_FILE = "puller.beat"
#: Orthanc identifiers are five groups of eight hexadecimal digits; image files are named by UUID.
_ORTHANC_NAME = r"^[0-9a-f]{8}(-[0-9a-f]{8}){4}$"


def pull_until(stop: threading.Event, settings: Settings) -> None:
    """Pull pending images from Orthanc, and report the state of its studies, until ``stop`` is set.

    Failures are logged and retried.

    Raises:
        ConfigurationError: neither is switched on, or see :class:`OrthancSource`.
    """
    if not settings.orthanc.is_asked:
        raise ConfigurationError("the link with Orthanc is switched off: set orthanc.url, and orthanc.pull or orthanc.tell")
    keep_private(settings.state_dir)
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
            # the text of a database error contains the statement
            why = type(error).__name__ if isinstance(error, SQLAlchemyError) else str(error)
            if why != failing or time.monotonic() - told_at > _SAME_AGAIN_S:
                log.warning("exchange with Orthanc failed, retrying: %s", why)
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
    """One Orthanc, and the store for its images."""

    def __init__(self, settings: Settings) -> None:
        """Open the store.

        Raises:
            ConfigurationError: the settings have no Orthanc, or its password file or the database cannot be used.
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
        """Read all pending images; returns the number of series.

        Raises:
            TransportError: Orthanc does not answer, or not like the plugin; images that were not read stay pending.
            RejectedError: it refuses the login, or has no such plugin.
            StorageFullError: too little disk space on the node.
        """
        n_series = 0
        while True:
            try:
                owed = _OWED.validate_json(self._client.ask("/bmd-node/owed"))
            except ValidationError as error:
                raise TransportError(f"{self._client.url} does not answer like the plugin: update plugins/") from error
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
                # image by image, so that only unreadable ones are skipped; known images are duplicates
                log.warning("Orthanc's series %s is read over its REST API instead: %s", series.id, error)
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
            # a retry does not help, and the other images must not be blocked
            log.error("Orthanc's instance %s is skipped: %s", instance_id, error)  # noqa: TRY400 - the message is complete
        finally:
            copy.unlink(missing_ok=True)

    def _from_storage(self, instance_id: str, storage_dir: Path, copy: Path) -> None:
        """Hard-link Orthanc's file, or copy it if links are not possible.

        Neither Orthanc nor the node ever modifies a file (both only delete it), so both may share it.
        """
        attachment = _Attachment.model_validate_json(self._client.ask(f"/instances/{instance_id}/attachments/dicom/info"))
        if attachment.CompressedMD5 != attachment.UncompressedMD5:
            raise TransportError("Orthanc compresses its storage: set StorageCompression to false, or unset storage_dir")
        file = storage_dir / attachment.Uuid[0:2] / attachment.Uuid[2:4] / attachment.Uuid
        try:
            os.link(file, copy)
        except OSError:
            try:
                shutil.copyfile(file, copy)
            except OSError as error:
                raise TransportError(f"orthanc.storage_dir does not contain {file}: {error.strerror}") from error
