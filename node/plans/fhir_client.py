"""FHIR client: searches page by page, reads single resources; the token is sent only to this server."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from pydantic import JsonValue, TypeAdapter, ValidationError

from node.common.errors import RejectedError, TransportError
from node.common.http_errors import is_untrusted, refusal, untrusted
from node.plans.fhir_models import Bundle
from node.settings.files import ascii_secret, trusting
from node.settings.plans import PlanFhirSettings

_MAX_ANSWER_BYTES = 64 * 1024 * 1024
#: Limit, in case a server links pages endlessly.
_MAX_PAGES = 1000
_NOT_THERE = (404, 410)
_SECTION = "plans_fhir"
_json: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


class FhirClient:
    """One server.

    Raises:
        ConfigurationError: the CA file cannot be read.
    """

    def __init__(self, settings: PlanFhirSettings) -> None:
        self._settings = settings
        self._base = settings.base_url.rstrip("/") + "/"
        self._pool = urllib3.PoolManager(
            ssl_context=trusting(settings.ca_file, f"{_SECTION}.ca_file"),
            timeout=settings.timeout_s,
            retries=urllib3.Retry(total=2, backoff_factor=0.5),
        )

    @property
    def name(self) -> str:
        """Name of the server in records: host and path of its base address."""
        parts = urlsplit(self._base)
        return f"{parts.netloc}{parts.path}".rstrip("/")

    def search(self, resource_type: str, parameters: tuple[tuple[str, str], ...], extra: str) -> Iterator[Bundle]:
        """Search, and yield page after page.

        Args:
            extra: further parameters from the settings, after ``?``.

        Raises:
            TransportError: no connection, no answer in time, or a temporary error.
            RejectedError: the server refuses.
            ConfigurationError: its certificate is not trusted, or it refuses the token.
        """
        query = "&".join(part for part in (urlencode(parameters), extra.strip("&?")) if part)
        url = f"{self._base}{resource_type}?{query}"
        for _ in range(_MAX_PAGES):
            bundle = self._bundle(url)
            yield bundle
            following = next((link.url for link in bundle.link if link.relation == "next" and link.url), None)
            if following is None:
                return
            url = self._own(urljoin(url, following))
        raise RejectedError(
            f"FHIR server {self.name} returns more than {_MAX_PAGES} pages: set page_size or a narrower query"
        )

    def read(self, reference: str) -> JsonValue:
        """Read a resource of this server; ``None`` if it does not exist, or the reference is to another server.

        Raises:
            TransportError, RejectedError, ConfigurationError: as :meth:`search`.
        """
        url = urljoin(self._base, reference)
        return self._get(url) if url.startswith(self._base) else None

    def _bundle(self, url: str) -> Bundle:
        answer = self._get(url)
        try:
            return Bundle.model_validate(answer)
        except ValidationError:
            raise RejectedError("the FHIR server answers a search with something other than a Bundle") from None

    def _own(self, url: str) -> str:
        ours, theirs = urlsplit(self._base), urlsplit(url)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise RejectedError("the next page is on another server than plans_fhir.base_url, which must not get the token")
        return url

    def _get(self, url: str) -> JsonValue:
        try:
            answer = self._pool.request("GET", url, headers=self._headers(), preload_content=False, redirect=False)
            body = answer.read(_MAX_ANSWER_BYTES + 1)
            answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if is_untrusted(error):
                raise untrusted(f"FHIR server {self.name}", _SECTION) from error
            # its text contains the query, which may identify a patient
            raise TransportError(f"FHIR server {self.name} does not answer ({type(error).__name__})") from None
        if answer.status in _NOT_THERE and "?" not in url:
            return None
        if answer.status != 200:
            raise refusal(f"FHIR server {self.name}", answer.status, _SECTION, remedy=f"check the queries in {_SECTION}")
        if len(body) > _MAX_ANSWER_BYTES:
            raise RejectedError(
                f"FHIR server {self.name} answers with more than {_MAX_ANSWER_BYTES >> 20} MiB: set page_size"
            )
        try:
            return _json.validate_json(body)
        except ValidationError:
            raise RejectedError(f"FHIR server {self.name} answers with invalid JSON") from None

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/fhir+json"}
        if self._settings.token_file:
            headers["Authorization"] = f"Bearer {ascii_secret(self._settings.token_file, f'{_SECTION}.token_file').strip()}"
        return headers
