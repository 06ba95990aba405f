"""Header facts of the scanner that has a shipped equation."""

from __future__ import annotations

from node.model import Orientation, SeriesFacts

PHILIPS = SeriesFacts(
    study_instance_uid="2.25.1",
    series_instance_uid="2.25.2",
    frame_of_reference_uid="2.25.3",
    manufacturer="Philips",
    manufacturer_model_name="Brilliance 64",
    kvp=120.0,
    convolution_kernel="B",
    slice_thickness_mm=1.0,
    spacing_mm=(0.8, 0.8, 1.0),
    orientation=Orientation.AXIAL,
)
