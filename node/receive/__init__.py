"""Receiving: instances arrive, are synced to disk and recorded; complete studies are distinguished from incomplete ones."""

from node.receive.commitment import Held, report_to_sender
from node.receive.corrections import Corrections
from node.receive.dicomweb import DicomWebServer, DicomWebSource, dicomweb_source
from node.receive.folder import Imported, import_folder
from node.receive.listener import serve_listener
from node.receive.orthanc import BEAT_FILE, OrthancSource, pull_until
from node.receive.orthanc_client import OrthancClient, WrongUserError
from node.receive.orthanc_states import OrthancStates, plugin_answer
from node.receive.studies import Conflict, QuietReason, QuietStudy, ReceivedStudies, run_id_of

__all__ = [
    "BEAT_FILE",
    "Conflict",
    "Corrections",
    "DicomWebServer",
    "DicomWebSource",
    "Held",
    "Imported",
    "OrthancClient",
    "OrthancSource",
    "OrthancStates",
    "QuietReason",
    "QuietStudy",
    "ReceivedStudies",
    "WrongUserError",
    "dicomweb_source",
    "import_folder",
    "plugin_answer",
    "pull_until",
    "report_to_sender",
    "run_id_of",
    "serve_listener",
]
