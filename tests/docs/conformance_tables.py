"""Tables of ``docs/conformance.md`` that are made from the code and from objects that it builds.

Run ``python -m tests.docs.conformance_tables`` after a change of what is sent, received or written.
"""

from __future__ import annotations

import json
import re
import tempfile
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, SecondaryCaptureImageStorage
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from node.deliver import Outcome, describe_status
from node.deliver.deliverer import SOP_CLASSES, TRANSFER_SYNTAX
from node.deliver.status import outcome_of
from node.model import codes
from node.model.object_kinds import SegKind, SrKind, sop_class_name
from node.receive import listener
from node.study.objects import PAGE_FILE, PDF_FILE, SR_FILE, WantedKinds, seg_file
from tests.deliver.built_results import EVERY_KIND, write_result
from tests.report.conftest import SyntheticCt, normal, synthetic_ct

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
_STANDARD = files("highdicom") / "_standard"

#: Statuses of which a receiver may send any of a range (PS3.4 table B.2-1).
_RANGES = {0xA700: "0xA700 to 0xA7FF", 0xA900: "0xA900 to 0xA9FF", 0xC000: "0xC000 to 0xCFFF"}
_STATUSES = (
    0x0000, 0x0001, 0x0107, 0x0110, 0x0111, 0x0116, 0x0117, 0x0122, 0x0124, 0x0210, 0x0211, 0x0212, 0x0213,
    0xA700, 0xA900, 0xB000, 0xB006, 0xB007, 0xC000,
)  # fmt: skip
#: The same in the objects that are compared here, and not in others.
_VARIES = frozenset({"NumberOfFrames", "DeviceSerialNumber", "SoftwareVersions", "SecondaryCaptureDeviceSoftwareVersions"})
_BEHAVIOUR = {
    Outcome.STORED: "stored",
    Outcome.STORED_WITH_WARNING: "stored; the warning is kept with the delivery and logged",
    Outcome.REJECTED: "refused for good: the next form of the part is sent, if there is one",
    None: "tried again, with growing waits",
}
_SCP_STATUSES = {
    "_SUCCESS": "the instance is on disk (fsync) and recorded, or was made by this node and is not wanted back",
    "_INVALID_SOP_INSTANCE": "Affected SOP Instance UID is no UID, or has more than 64 characters",
    "_OUT_OF_RESOURCES": "less room on the disk than `min_free_disk_mb`, or disk or database failed: to be sent again",
    "_DOES_NOT_MATCH_SOP_CLASS": "the data set is of another SOP class than the request says",
    "_CANNOT_UNDERSTAND": "not parseable as DICOM up to its UIDs, or another SOP Instance UID than the request says",
}


def tables() -> dict[str, str]:
    """Every generated table by its name in the document."""
    made = {
        "storage-scu": _storage_scu(),
        "scu-contexts": _scu_contexts(),
        "scu-statuses": _scu_statuses(),
        "scp-statuses": _scp_statuses(),
        "pdu": _pdu(),
        "private-codes": _private_codes(),
    }
    for name, file in {"sr": SR_FILE, "seg": seg_file(SegKind.BINARY), "page": PAGE_FILE, "pdf": PDF_FILE}.items():
        made[f"attributes-{name}"] = _attributes(file)
    return made


def with_tables(text: str) -> str:
    """The document with every table made anew."""
    for name, table in tables().items():
        pattern = rf"(<!-- table {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, table=table: f"{m[1]}{table}{m[2]}", text, flags=re.DOTALL)  # type: ignore[misc]
        assert count == 1, f"docs/conformance.md has no place for the table {name}"
    return text


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _storage_scu() -> str:
    reasons = {kind.sop_class_uid: "structured report" for kind in SrKind}
    reasons |= {kind.sop_class_uid: "segmentation" for kind in SegKind}
    reasons |= {SecondaryCaptureImageStorage: "summary page"}
    return _table(
        ("SOP class", "UID", "SCU", "SCP", "made for"),
        [(sop_class_name(uid), f"`{uid}`", "yes", "yes", reasons.get(uid, "PDF of the page")) for uid in SOP_CLASSES],
    )


def _scu_contexts() -> str:
    rows = [(sop_class_name(uid), f"{TRANSFER_SYNTAX.name} (`{TRANSFER_SYNTAX}`)", "SCU", "none") for uid in SOP_CLASSES]
    echo = build_context(UID(Verification)).transfer_syntax
    rows.append(("Verification SOP Class", ", ".join(f"{uid.name} (`{uid}`)" for uid in echo), "SCU", "none"))
    return _table(("abstract syntax", "transfer syntax", "role", "extended negotiation"), rows)


def _scu_statuses() -> str:
    return _table(
        ("status", "meaning", "behaviour"),
        [
            (
                _RANGES.get(status, f"0x{status:04X}"),
                describe_status(status)[7:] or "success",
                _BEHAVIOUR[outcome_of(status)],
            )
            for status in _STATUSES
        ],
    )


def _scp_statuses() -> str:
    values = {name: value for name, value in vars(listener).items() if name in _SCP_STATUSES}
    assert values.keys() == _SCP_STATUSES.keys()
    return _table(("status", "when"), [(f"0x{value:04X}", _SCP_STATUSES[name]) for name, value in values.items()])


def _pdu() -> str:
    return _table(
        ("application entity", "largest PDU that it receives, bytes"),
        [("LISTENER", str(listener.MAX_PDU_BYTES)), ("SENDER", str(AE().maximum_pdu_size))],
    )


def _private_codes() -> str:
    found = [value for value in vars(codes).values() if isinstance(value, Code)]
    found += [c for v in vars(codes).values() if isinstance(v, dict) for c in v.values() if isinstance(c, Code)]
    private = {
        code.value: code.meaning for code in found if code.scheme_designator == codes.coding_scheme().CodingSchemeDesignator
    }
    return _table(("code value", "code meaning"), [(f"`{value}`", meaning) for value, meaning in sorted(private.items())])


@cache
def objects() -> tuple[dict[str, Dataset], dict[str, Dataset], Dataset, Dataset]:
    """Objects of two studies, the second of a source that says little; and a header of each source."""
    full, bare = _full(synthetic_ct("axial")), _bare(synthetic_ct("axial"))
    made = []
    some = WantedKinds((SrKind.COMPREHENSIVE_3D,), (SegKind.BINARY,), pdf=True)
    for ct, created, result, kinds in (
        (full, datetime(2024, 5, 6, 7, 8, 9), None, EVERY_KIND),
        (bare, datetime(2025, 11, 12, 13, 14, 15), normal, some),
    ):
        with tempfile.TemporaryDirectory() as folder:
            paths = write_result(Path(folder), str(created), created, kinds, ct=ct, make=result)
            made.append({path.name: pydicom.dcmread(path) for path in paths})
    return made[0], made[1], full.sources[0], bare.sources[0]


def _full(ct: SyntheticCt) -> SyntheticCt:
    for ds in ct.sources:
        ds.IssuerOfPatientID, ds.PatientAge, ds.PatientSize, ds.PatientWeight = "HOSPITAL", "073Y", "1.8", "80"
        ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "by hand"
        ds.StudyDescription = "CT lumbar spine"
    return ct


def _bare(ct: SyntheticCt) -> SyntheticCt:
    kept = ("patient", "general-study")
    names = {a["keyword"] for module in kept for a in _module_attributes()[module] if not a["path"]} - {"StudyInstanceUID"}
    for ds in ct.sources:
        for keyword in names & {keyword_for_tag(element.tag) for element in ds}:
            delattr(ds, keyword)
    return ct


def _module_attributes() -> dict[str, list[dict[str, str]]]:
    return json.loads((_STANDARD / "module_attribute_map.json").read_text())


def _attributes(file: str) -> str:
    full, bare, source, bare_source = objects()
    one, two = full[file], bare[file]
    iod = json.loads((_STANDARD / "sop_class_iod_map.json").read_text())[one.SOPClassUID]
    modules = json.loads((_STANDARD / "iod_module_map.json").read_text())[iod]
    attributes = _module_attributes()
    left = {keyword_for_tag(element.tag) for element in one}
    rows: list[tuple[str, ...]] = []
    for module in modules:
        names = dict.fromkeys(a["keyword"] for a in attributes[module["key"]] if not a["path"])
        for keyword in [name for name in names if name in left]:
            left.discard(keyword)
            title = module["key"].replace("-", " ")
            rows.append((title, *_described(keyword, one, two, source, bare_source)))
    assert not left, f"{file} has attributes of no module of its IOD: {sorted(left)}"
    return _table(("module", "attribute", "tag", "VR", "presence", "source", "value"), rows)


def _described(keyword: str, one: Dataset, two: Dataset, source: Dataset, bare_source: Dataset) -> tuple[str, ...]:
    """Presence (ALWAYS, VNAP: may be empty, ANAP: may be absent) and source of an attribute, as PS3.2 names them."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    vr, element = dictionary_VR(tag), one[tag]
    presence = "ANAP" if keyword not in two else "ALWAYS" if not (two[tag].is_empty or element.is_empty) else "VNAP"
    if element.is_empty:
        presence = "EMPTY"
    copied = (
        keyword != "InstanceNumber"
        and _same(element, source, tag)
        and (keyword not in two or two[tag].is_empty or _same(two[tag], bare_source, tag))
    )
    fixed = (
        keyword in two
        and element.value == two[tag].value
        and not copied
        and vr not in ("SQ", "OB", "OB or OW")
        and keyword not in _VARIES
    )
    if vr == "UI" and keyword != "SOPClassUID":
        fixed = False
    origin = "COPY" if copied else "FIXED" if fixed else "AUTO"
    value = "" if not fixed or element.is_empty else f"`{_text(element.value)}`"
    return keyword, f"({tag >> 16:04X},{tag & 0xFFFF:04X})", vr, presence, origin, value


def _same(element: pydicom.DataElement, source: Dataset, tag: int) -> bool:
    return tag in source and not element.is_empty and str(source[tag].value) == str(element.value)


def _text(value: object) -> str:
    return "\\".join(map(str, value)) if isinstance(value, pydicom.multival.MultiValue) else str(value)


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
