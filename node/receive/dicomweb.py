"""Images of a DICOMweb server (PS3.18): searched by QIDO-RS, retrieved by WADO-RS, one at a time.

Only the arriving image is in memory, never the whole series. Images come in the transfer syntax of the server.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.common.errors import ConfigurationError, InputError, NodeError, RejectedError, TransportError
from node.receive.index import InstanceIndex
from node.receive.storage import InstanceStore
from node.settings.files import ascii_secret, secret_of
from node.settings.orthanc import DicomWebSettings
from node.settings.tree import Settings

T = TypeVar("T")

#: As stored on the server (PS3.18 section 8.7.3.5.2), without transcoding.
_AS_STORED = (("application/dicom", "*"),)
#: After the close-delimiter there may be a line break or some text.
_MOST_EPILOGUE_BYTES = 1024
_NOT_ALLOWED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
_NOT_THERE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
#: Status codes below 500 that are worth a retry: RFC 9110 15.5.9, RFC 8470, RFC 6585.
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class DicomWebServer:
    """One server.

    Raises:
        ConfigurationError: the settings have no server, or a file in them cannot be used.
    """

    def __init__(self, settings: DicomWebSettings) -> None:
        if not settings.url:
            raise ConfigurationError(
                "set dicomweb.url to the base address of a DICOMweb server, to which /studies is appended"
            )
        self._settings = settings
        self.url = settings.url.rstrip("/")
        self._password = secret_of(settings.password_file, "dicomweb.password_file") if settings.password_file else ""
        for file, setting in (
            (settings.ca_file, "dicomweb.ca_file"),
            (settings.client_cert_file, "dicomweb.client_cert_file"),
            (settings.client_key_file, "dicomweb.client_key_file"),
        ):
            if file and not Path(file).is_file():
                raise ConfigurationError(f"{setting}: {file} does not exist")
        self._token()

    def probe(self) -> None:
        """Search for any one study; retrieves nothing.

        Raises:
            TransportError, RejectedError, InputError: see :meth:`DicomWebSource.take_series`.
        """
        with self._session() as session:
            client = self._client(session)
            self._asked(lambda: client.search_for_studies(limit=1))

    def ct_series(self, study_instance_uid: str) -> dict[str, int]:
        """CT series of a study, with their number of instances.

        Raises:
            InputError: the server has no such study.
            TransportError, RejectedError: see :meth:`DicomWebSource.take_series`.
        """
        with self._session() as session:
            client = self._client(session)
            found = self._asked(lambda: client.search_for_series(study_instance_uid, get_remaining=True))
            if not found:
                raise InputError(f"the DICOMweb server {self.url} has no study {study_instance_uid}")
            datasets = [Dataset.from_json(one) for one in found]
            return {
                str(ds.SeriesInstanceUID): self._count(client, study_instance_uid, str(ds.SeriesInstanceUID))
                for ds in datasets
                if ds.get("Modality") == "CT"
            }

    def images(self, study_instance_uid: str, series_instance_uid: str) -> Iterator[Dataset]:
        """Retrieve a series, image by image.

        Raises:
            TransportError, RejectedError, InputError: see :meth:`DicomWebSource.take_series`.
        """
        with self._session() as session:
            client = self._client(session)
            arriving = self._asked(lambda: client.iter_series(study_instance_uid, series_instance_uid, _AS_STORED))
            while (ds := self._asked(lambda: next(arriving, None))) is not None:
                yield ds

    def _count(self, client: DICOMwebClient, study_instance_uid: str, series_instance_uid: str) -> int:
        found = self._asked(lambda: client.search_for_instances(study_instance_uid, series_instance_uid, get_remaining=True))
        return len(found)

    def _session(self) -> requests.Session:
        session = requests.Session()
        # ignore proxies and .netrc of the environment: they are for external servers
        session.trust_env = False
        session.hooks["response"].append(_must_end_with_its_boundary)
        if self._settings.user:
            session.auth = (self._settings.user, self._password)
        elif token := self._token():
            session.headers["Authorization"] = f"Bearer {token}"
        if self._settings.ca_file:
            session.verify = self._settings.ca_file
        if self._settings.client_cert_file:
            key_file = self._settings.client_key_file
            session.cert = (self._settings.client_cert_file, key_file) if key_file else self._settings.client_cert_file
        return session

    def _token(self) -> str:
        return ascii_secret(self._settings.token_file, "dicomweb.token_file").strip() if self._settings.token_file else ""

    def _client(self, session: requests.Session) -> DICOMwebClient:
        client = DICOMwebClient(self.url, session=session, timeout=self._settings.timeout_s)
        # the caller decides on retries; waits in the client would keep a stopped node from ending
        client.set_http_retry_params(retry=False)
        return client

    def _asked(self, ask: Callable[[], T]) -> T:
        """Result of a call; translates errors of requests and pydicom to those of the node."""
        try:
            with warnings.catch_warnings():
                # warnings about invalid elements may quote patient data into the log
                warnings.simplefilter("ignore")
                return ask()
        except requests.HTTPError as error:
            raise self._refusal(error) from error
        except requests.exceptions.SSLError as error:
            raise RejectedError(
                f"the certificate of {self.url} is not trusted: set dicomweb.ca_file to its certificate authority, and "
                "dicomweb.url to the host name in the certificate"
            ) from error
        except (requests.RequestException, OSError) as error:
            raise TransportError(f"the DICOMweb server {self.url} does not answer: {type(error).__name__}") from error
        except (InvalidDicomError, ValueError, KeyError, AttributeError, EOFError, TypeError) as error:
            raise InputError(f"the DICOMweb server {self.url} sent invalid DICOM ({type(error).__name__})") from error

    def _refusal(self, error: requests.HTTPError) -> NodeError:
        status = error.response.status_code
        said = f"the DICOMweb server {self.url} answers {status}"
        if status in _NOT_ALLOWED:
            return RejectedError(f"{said}: it refuses the login, check [dicomweb] in the settings")
        if status in _NOT_THERE:
            return RejectedError(f"{said}: it has no such study or series, or dicomweb.url is wrong")
        if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return TransportError(said)
        return RejectedError(f"{said}: it does not support the request (QIDO-RS and WADO-RS of instances)")


class DicomWebSource:
    """One server, and the store for its images."""

    def __init__(self, server: DicomWebServer, store: InstanceStore) -> None:
        self.server = server
        self._store = store

    def take_series(self, study_instance_uid: str, series_instance_uid: str, n_expected: int) -> int:
        """Retrieve a series into the store; known instances are duplicates.

        Args:
            n_expected: number of instances of the series; fewer are an error, since the transfer may have been interrupted.

        Returns:
            The number of instances.

        Raises:
            TransportError: no connection, a broken connection, a time-out, too few images, or a temporary error.
            RejectedError: permanent refusal: login, certificate, no such series, or an unsupported request.
            InputError: the data is not valid DICOM.
            StorageFullError: too little disk space on the node.
        """
        n_taken = 0
        for ds in self.server.images(study_instance_uid, series_instance_uid):
            self._take(ds)
            n_taken += 1
        if n_taken < n_expected:
            raise TransportError(
                f"{self.server.url} sent {n_taken} of {n_expected} images of series {series_instance_uid} by DICOMweb"
            )
        return n_taken

    def _take(self, ds: Dataset) -> None:
        copy = self._store.import_name()
        try:
            # elements that were not decoded are written unchanged
            ds.save_as(copy, enforce_file_format=True)
            self._store.take(copy, association_id=None)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            # the text of pydicom's errors may quote the value of an element
            raise InputError(
                f"an image of the DICOMweb server cannot be written as DICOM ({type(error).__name__})"
            ) from error
        finally:
            copy.unlink(missing_ok=True)


def _must_end_with_its_boundary(response: requests.Response, *_args: object, **_more: object) -> None:
    """Make the body of a multipart response fail if it ends before its close-delimiter (RFC 2046 5.1.1).

    A server may end its response by closing the connection; a broken connection then looks like the end, and half an image
    like a whole one.
    """
    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    boundary = header.get_boundary()
    if boundary is None or not header.get_content_type().startswith("multipart/"):
        return
    close_delimiter = f"--{boundary}--".encode()
    arriving = response.iter_content

    def whole(chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[bytes]:
        tail = b""
        for chunk in arriving(chunk_size, decode_unicode):
            tail = (tail + chunk)[-len(close_delimiter) - _MOST_EPILOGUE_BYTES :]
            yield chunk
        if close_delimiter not in tail:
            raise requests.ConnectionError("the response is incomplete")

    response.iter_content = whole  # type: ignore[method-assign]


def dicomweb_source(settings: Settings) -> DicomWebSource:
    """The server in the settings, with the store of the node.

    Raises:
        ConfigurationError: see :class:`DicomWebServer`; or the database cannot be used.
    """
    index = InstanceIndex.open(settings)
    store = InstanceStore(settings.state_dir, index, settings.listener.min_free_disk_mb * 1024 * 1024)
    return DicomWebSource(DicomWebServer(settings.dicomweb), store)
