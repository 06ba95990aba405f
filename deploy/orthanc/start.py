"""Starts Orthanc in a container: the project's ``orthanc.json``, with users from files and the node's host.

``ORTHANC_USERS`` is ``name:file,name:file``; each file holds one password. There is no default: without users, or with a
password that is short or guessed at once, Orthanc does not start. ``BMD_NODE_HOST`` is the host of the node.
Only the standard library, since nothing else is in the image.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

CONFIGURATION = Path(os.environ.get("ORTHANC_JSON", "/opt/bmd-node/orthanc.json"))
LEAST_CHARACTERS = 12


def users(text: str) -> dict[str, str]:
    """Names with their passwords; ends the program with the reason if one is not usable."""
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, _, file = part.partition(":")
        if not name or not file:
            sys.exit("ORTHANC_USERS must be name:file,name:file")
        try:
            password = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            sys.exit(f"ORTHANC_USERS: {file} cannot be read ({error.strerror}): write the password of {name} into it")
        if len(password) < LEAST_CHARACTERS or not password.isprintable() or name.lower() in password.lower():
            sys.exit(
                f"ORTHANC_USERS: {file} must hold one line with a password of {LEAST_CHARACTERS} characters or more, "
                f"without the name {name}; `openssl rand -hex 24` makes one"
            )
        found[name] = password
    if not found:
        sys.exit("ORTHANC_USERS names nobody: give name:file for each user; Orthanc does not start without")
    return found


def main() -> None:
    """Write the configuration for this container, and become Orthanc."""
    configuration = json.loads(CONFIGURATION.read_text(encoding="utf-8"))
    configuration["RegisteredUsers"] = users(os.environ.get("ORTHANC_USERS", ""))
    # only now that somebody can log in; who reaches the port is the container engine's business
    configuration["RemoteAccessAllowed"] = True
    for modality in configuration["DicomModalities"].values():
        modality["Host"] = os.environ.get("BMD_NODE_HOST", modality["Host"])
    written = Path(os.environ.get("TMPDIR", "/tmp")) / "orthanc.json"  # noqa: S108 - a file system of the container's own
    written.unlink(missing_ok=True)
    with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(configuration, file, indent=2)
    os.execvp("Orthanc", ["Orthanc", str(written)])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
