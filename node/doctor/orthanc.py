"""Orthanc, by its REST API: is the plugin installed in this version, and does Orthanc reach the node?"""

from __future__ import annotations

import json
from urllib.error import HTTPError, URLError

from node.common.errors import ConfigurationError, NodeError, RejectedError, TransportError
from node.doctor.finding import Finding, Outcome
from node.doctor.health import health
from node.doctor.http import get
from node.receive import DicomWebServer, OrthancClient, WrongUserError, plugin_answer
from node.settings.files import secret_of
from node.settings.tree import Settings

_NAME = "Orthanc"
_UNAUTHORIZED = (401, 403)


def check_orthanc(settings: Settings) -> tuple[Finding, ...]:
    """Whether Orthanc answers, has its Python plugin, knows the node and reaches it by C-ECHO."""
    orthanc = settings.orthanc
    if not orthanc.url:
        return (Finding(_NAME, Outcome.OK, "not checked: orthanc.url is not set"),)
    try:
        return (_ask(settings, orthanc.url.rstrip("/"), login_of(settings)),)
    except ConfigurationError as error:
        return (Finding(_NAME, Outcome.ERROR, str(error)),)
    except HTTPError as error:
        if error.code in _UNAUTHORIZED:
            todo = "correct orthanc.user and orthanc.password_file, or RegisteredUsers in orthanc.json"
            return (Finding(_NAME, Outcome.ERROR, f"{orthanc.url} refuses the login ({error.code})", todo),)
        return (Finding(_NAME, Outcome.ERROR, f"{orthanc.url} answers {error.code}", "is this Orthanc? see its log"),)
    except (URLError, OSError) as error:
        todo = "start Orthanc, or correct orthanc.url; RemoteAccessAllowed must be true for another machine"
        return (Finding(_NAME, Outcome.ERROR, f"{orthanc.url} does not answer ({error})", todo),)
    except (ValueError, LookupError, TypeError):
        return (Finding(_NAME, Outcome.ERROR, f"{orthanc.url} is not an Orthanc server", "correct orthanc.url"),)


def login_of(settings: Settings) -> tuple[str, str] | None:
    """User and password for Orthanc; ``None`` if no user is set.

    Raises:
        ConfigurationError: the password file cannot be used.
    """
    orthanc = settings.orthanc
    if not orthanc.user:
        return None
    return orthanc.user, secret_of(orthanc.password_file, "orthanc.password_file") if orthanc.password_file else ""


def _ask(settings: Settings, url: str, login: tuple[str, str] | None) -> Finding:
    version = json.loads(get(f"{url}/system", login).body)["Version"]
    if "python" not in json.loads(get(f"{url}/plugins", login).body):
        todo = "install Debian's orthanc-python and set plugins/bmd_node.py as PythonScript in orthanc.json"
        return Finding(_NAME, Outcome.ERROR, f"{version} answers, but has no Python plugin", todo)
    try:
        plugin = plugin_answer(OrthancClient(settings.orthanc))
    except WrongUserError as error:
        todo = 'set orthanc.user here, or "NodeUser" in "BmdNode" in orthanc.json'
        return Finding(_NAME, Outcome.ERROR, f"{version} answers, but {error}", todo)
    except RejectedError as error:
        todo = "set plugins/bmd_node.py of this node as PythonScript in orthanc.json, and restart Orthanc"
        return Finding(_NAME, Outcome.ERROR, f"{version} answers, but {error}", todo)
    except TransportError as error:
        return Finding(_NAME, Outcome.ERROR, str(error), "see Orthanc's log for lines with bmd-node")
    said = f"{version} with the plugin of this node (hand-over: {plugin.hand_over})"
    if plugin.hand_over == "pull":
        if not settings.orthanc.pull:
            todo = 'set orthanc.pull here, or "HandOver": "store" in orthanc.json'
            return Finding(_NAME, Outcome.ERROR, f"{said}, but this node does not pull", todo)
        return Finding(_NAME, Outcome.OK, said)
    if settings.orthanc.pull:
        todo = 'set "HandOver": "pull" in orthanc.json, or switch orthanc.pull off'
        return Finding(_NAME, Outcome.WARNING, f"{said}, but this node tries to pull", todo)
    modalities = json.loads(get(f"{url}/modalities?expand", login).body)
    ours = settings.listener.ae_title
    named = [name for name, one in modalities.items() if one["AET"] == ours]
    if not named:
        todo = "add the node to DicomModalities in orthanc.json"
        return Finding(_NAME, Outcome.ERROR, f"{version} answers, but has no modality with AE title {ours}", todo)
    try:
        get(f"{url}/modalities/{named[0]}/echo", login, body=b"{}")
    except HTTPError as error:
        one = modalities[named[0]]
        todo = f"start the listener, or correct host and port of {named[0]} in orthanc.json"
        detail = f"{version} does not reach the node at {one['Host']}:{one['Port']} by C-ECHO ({error.code})"
        return Finding(_NAME, Outcome.ERROR, detail, todo)
    return Finding(_NAME, Outcome.OK, f"{said}; its C-ECHO reaches the node as {named[0]}")


def check_link(settings: Settings) -> tuple[Finding, ...]:
    """Whether the link with Orthanc is running; without it nothing is pulled, and Orthanc gets no states."""
    name = "link with Orthanc"
    if not settings.orthanc.is_asked:
        told = "no orthanc.url" if not settings.orthanc.url else "orthanc.pull and orthanc.tell are off"
        return (Finding(name, Outcome.OK, f"switched off ({told})"),)
    [found] = health(settings, ("puller",))
    if found.outcome is Outcome.OK:
        return (Finding(name, Outcome.OK, found.detail),)
    todo = "start it: bmd-node serve, or bmd-node puller"
    return (Finding(name, Outcome.ERROR if settings.orthanc.pull else Outcome.WARNING, found.detail, todo),)


def check_dicomweb(settings: Settings) -> tuple[Finding, ...]:
    """Whether the DICOMweb server of the settings answers a search for one study."""
    name = "DICOMweb"
    if not settings.dicomweb.url:
        return ()
    try:
        DicomWebServer(settings.dicomweb).probe()
    except NodeError as error:
        todo = "start it, or correct the section [dicomweb]" if error.retriable else ""
        return (Finding(name, Outcome.ERROR, str(error), todo),)
    return (Finding(name, Outcome.OK, f"{settings.dicomweb.url} answers a search (QIDO-RS)"),)
