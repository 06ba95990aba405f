"""HTTP client for Orthanc: short requests to its REST API and to the plugin of this project."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from http.client import HTTPException

from node.common.errors import ConfigurationError, RejectedError, TransportError
from node.settings.files import secret_of
from node.settings.orthanc import OrthancSettings

_TIMEOUT_S = 60.0
_NOT_FOUND = 404
_FORBIDDEN = 403
_NOT_ALLOWED = (401, _FORBIDDEN)
_WRONG_BODY = 400


class WrongUserError(RejectedError):
    """The plugin takes this from another user of Orthanc only."""


class OrthancClient:
    """One Orthanc.

    Raises:
        ConfigurationError: the settings have none, or its password file cannot be used.
    """

    def __init__(self, settings: OrthancSettings) -> None:
        if not settings.url:
            raise ConfigurationError("set orthanc.url to the address of Orthanc, such as http://127.0.0.1:8042")
        self.url = settings.url.rstrip("/")
        password = secret_of(settings.password_file, "orthanc.password_file") if settings.password_file else ""
        self._login = base64.b64encode(f"{settings.user}:{password}".encode()).decode()
        # proxies of the environment are for external servers
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """GET, or POST with a body.

        Raises:
            TransportError: no connection, no answer in time, or a temporary error of Orthanc.
            WrongUserError: the plugin takes this only from the user that Orthanc's configuration names.
            RejectedError: the login is refused, there is no such resource, or the plugin does not understand the body.
        """
        request = urllib.request.Request(self.url + path, body, {"Authorization": f"Basic {self._login}"})  # noqa: S310 - the settings allow http and https only
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as response:
                content: bytes = response.read()
        except urllib.error.HTTPError as error:
            if error.code == _FORBIDDEN and path.startswith("/bmd-node/"):
                raise WrongUserError(
                    f"Orthanc at {self.url} refuses {path} (403): orthanc.user must be the user that "
                    'its configuration names as "NodeUser" in "BmdNode" (default: bmd-node)'
                ) from error
            if error.code in _NOT_ALLOWED:
                raise RejectedError(
                    f"Orthanc at {self.url} refuses the login ({error.code}): correct orthanc.user and orthanc.password_file"
                ) from error
            if error.code == _NOT_FOUND and path.startswith("/bmd-node/"):
                raise RejectedError(
                    f"Orthanc at {self.url} has no {path}: its plugin is missing or older than this node, update plugins/"
                ) from error
            if error.code in (_NOT_FOUND, _WRONG_BODY):
                raise RejectedError(f"Orthanc at {self.url} answers {path} with {error.code}") from error
            raise TransportError(f"Orthanc at {self.url} answers {path} with {error.code}") from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise TransportError(f"Orthanc at {self.url} does not answer {path}: {reason}") from error
        return content
