"""Receiving: instances arrive, are synced to the disk and recorded; complete studies are told apart from incomplete ones."""

from node.receive.folder import Imported, import_folder
from node.receive.listener import serve_listener
from node.receive.orthanc import OrthancSource, pull_until
from node.receive.studies import Conflict, QuietReason, QuietStudy, ReceivedStudies

__all__ = [
    "Conflict",
    "Imported",
    "OrthancSource",
    "QuietReason",
    "QuietStudy",
    "ReceivedStudies",
    "import_folder",
    "pull_until",
    "serve_listener",
]
