"""A phantom as a DICOM series and its truth as a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from node.common.uids import derived_uid
from node.model import Orientation
from node.phantom.ct_series import CtHeader, write_ct_series
from node.phantom.parameters import PhantomParameters
from node.phantom.phantom import Phantom

#: Parameters that belong to an image and not to the patient: two phantoms that differ in these alone share patient, study
#: and frame of reference.
_OF_THE_IMAGE = frozenset(
    {
        "kernel",
        "noise_sd_hu",
        "pixel_spacing_mm",
        "slice_distance_mm",
        "slice_thickness_mm",
        "orientation",
        "reverse_slices",
        "slice_rotation_deg",
        "field_of_view",
    }
)


def header_of(phantom: Phantom) -> CtHeader:
    """Header of the phantom's series; UIDs are hashes of the parameters, dates are fixed."""
    parameters = phantom.parameters
    patient = hashlib.sha256(_patient_key(parameters).encode()).hexdigest()[:8].upper()
    axial = parameters.orientation is Orientation.AXIAL and not any(parameters.slice_rotation_deg)
    what = "Lumbar spine" if parameters.contrast.agent is None else "Lumbar spine with contrast"
    everything = json.dumps(dataclasses.asdict(parameters)) + hashlib.sha256(phantom.hu.tobytes()).hexdigest()
    return CtHeader(
        study_instance_uid=derived_uid("study", _patient_key(parameters)),
        series_instance_uid=derived_uid("series", everything),
        frame_of_reference_uid=derived_uid("frame of reference", _patient_key(parameters)),
        patient_id=f"PHANTOM-{patient}",
        patient_name="PHANTOM^LUMBAR",
        patient_birth_date="19560101",
        patient_sex="F",
        patient_age="070Y",
        study_id=patient,
        accession_number=f"P{patient}",
        study_date="20260102",
        study_time="101500",
        study_description="CT digital lumbar phantom",
        series_number={Orientation.AXIAL: 2, Orientation.SAGITTAL: 3, Orientation.CORONAL: 4}[parameters.orientation],
        series_description=f"{what} {parameters.orientation.value} {parameters.thickness_mm:g} mm {parameters.kernel.name}",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL") if axial else ("DERIVED", "SECONDARY", "REFORMATTED"),
        manufacturer=parameters.scanner.manufacturer,
        manufacturer_model_name=parameters.scanner.model,
        device_serial_number="PHANTOM",
        station_name="PHANTOM",
        kvp=parameters.scanner.kvp,
        convolution_kernel=parameters.kernel.name,
        slice_thickness_mm=parameters.thickness_mm,
        patient_position=parameters.patient_position.value,
        body_part_examined="LSPINE",
        protocol_name="LSPINE PHANTOM",
        contrast_bolus_agent=parameters.contrast.agent,
    )


def write_series(phantom: Phantom, folder: Path) -> list[Path]:
    """Write the phantom as a CT series; equal parameters give equal files. Returns their paths in the order of axis 0."""
    return write_ct_series(phantom.hu, phantom.affine_lps_mm, header_of(phantom), folder)


def write_truth(phantom: Phantom, path: Path) -> None:
    """Write the truth of the phantom, without the label maps, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(phantom.truth.as_json(phantom.parameters), encoding="utf-8")


def _patient_key(parameters: PhantomParameters) -> str:
    """The parameters of the patient, as a string."""
    values = dataclasses.asdict(parameters)
    return json.dumps({name: value for name, value in values.items() if name not in _OF_THE_IMAGE})
