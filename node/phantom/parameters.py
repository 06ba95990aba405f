"""Parameters of a phantom: frozen, each with a default.

Lengths are in mm, angles in degrees, densities in mg/cm3, attenuation in HU. Directions are those of the DICOM patient
coordinate system (LPS): x to the left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from node.common.errors import ConfigurationError
from node.model import Level, Orientation, Vector
from node.phantom.calibration import CalibrationSetup
from node.phantom.pathology import NO_PATHOLOGY, Pathology


class PatientPosition(StrEnum):
    """Value of Patient Position (0018,5100)."""

    HEAD_FIRST_SUPINE = "HFS"
    HEAD_FIRST_PRONE = "HFP"
    FEET_FIRST_SUPINE = "FFS"
    FEET_FIRST_PRONE = "FFP"


@dataclass(frozen=True, slots=True)
class Scanner:
    """The scanner, and the equation density = ``slope`` x HU + ``intercept`` that turns densities into its HU.

    The default is the equation of Schwaiger et al., AJNR 2014;35(8):1628-1633 (Philips Brilliance 64, 120 kVp).
    """

    manufacturer: str = "Philips"
    model: str = "Brilliance 64"
    kvp: float = 120.0
    slope_mg_cm3_per_hu: float = 0.78
    intercept_mg_cm3: float = 0.0

    def hu_of(self, density_mg_cm3: float) -> float:
        """HU that this scanner shows for a trabecular density in mg/cm3."""
        return (density_mg_cm3 - self.intercept_mg_cm3) / self.slope_mg_cm3_per_hu


@dataclass(frozen=True, slots=True)
class Kernel:
    """Reconstruction kernel: a Gaussian of ``fwhm_mm``, sharpened by unsharp masking with weight ``edge``.

    ``edge`` 0 is a smooth kernel; a bone kernel overshoots at edges with 0.5 to 1.
    """

    name: str = "B"
    fwhm_mm: float = 1.3
    edge: float = 0.0


#: A larger image would not fit into the memory of a common machine.
_MOST_VOXELS = 4e8

#: A smooth body kernel and an edge-enhancing bone kernel, named as Philips names them; widths typical, rounded.
STANDARD_KERNEL = Kernel()
BONE_KERNEL = Kernel(name="D", fwhm_mm=0.9, edge=0.7)
KERNELS = {"standard": STANDARD_KERNEL, "bone": BONE_KERNEL}


@dataclass(frozen=True, slots=True)
class FieldOfView:
    """The imaged box: its centre relative to the centre of L3, and its extent, both along x, y, z of the patient."""

    centre_mm: Vector = (0.0, 5.0, -5.0)
    extent_mm: Vector = (256.0, 256.0, 260.0)


#: A narrow reconstruction of the spine, without most of the abdomen.
NARROW_SPINE = FieldOfView((0.0, 25.0, -5.0), (140.0, 150.0, 250.0))
#: An abdomen from T10 to the sacrum.
ABDOMEN = FieldOfView((0.0, -5.0, 0.0), (400.0, 320.0, 290.0))
#: The spine, and a calibration phantom beneath the patient.
SPINE_AND_RODS = FieldOfView((0.0, 70.0, -5.0), (190.0, 230.0, 250.0))
#: From the lower chest to the hip joints.
WHOLE_TRUNK = FieldOfView((0.0, 0.0, -20.0), (440.0, 360.0, 440.0))
FIELDS_OF_VIEW = {
    "lumbar": FieldOfView(),
    "spine": NARROW_SPINE,
    "rods": SPINE_AND_RODS,
    "abdomen": ABDOMEN,
    "trunk": WHOLE_TRUNK,
}


@dataclass(frozen=True, slots=True)
class Screws:
    """Pedicle screws on both sides of each of ``levels``, joined by a rod per side if ``rods``.

    Attributes:
        metal_hu: attenuation before it is clipped at 3071 HU, the end of the scanner's range.
        streaks: strength of the streaks around metal in axial images; 0 for a perfect correction, 1 is usual.
    """

    levels: tuple[Level, ...] = (Level.L3, Level.L4, Level.L5)
    rods: bool = True
    metal_hu: float = 6000.0
    streaks: float = 0.0


@dataclass(frozen=True, slots=True)
class Contrast:
    """Attenuation in HU of structures that take up contrast; the defaults are unenhanced."""

    agent: str | None = None
    aorta_hu: float = 42.0
    vena_cava_hu: float = 40.0
    kidney_hu: float = 32.0
    liver_hu: float = 56.0
    spleen_hu: float = 48.0
    dural_sac_hu: float = 15.0
    bowel_hu: float = 260.0


#: Typical enhancement of 120 kVp abdominal CT, rounded.
UNENHANCED = Contrast()
ARTERIAL = Contrast("Iohexol", 300.0, 70.0, 130.0, 65.0, 110.0)
PORTAL_VENOUS = Contrast("Iohexol", 160.0, 145.0, 190.0, 110.0, 125.0)
#: After intrathecal contrast.
MYELOGRAPHY = Contrast("Iohexol", dural_sac_hu=450.0)
CONTRASTS = {"none": UNENHANCED, "arterial": ARTERIAL, "portal_venous": PORTAL_VENOUS, "myelography": MYELOGRAPHY}


@dataclass(frozen=True, slots=True)
class Spine:
    """Shape of the patient.

    Attributes:
        size: factor on all lengths of the skeleton; 1 is a typical adult.
        lordosis: factor on the sagittal curve; 1 is a typical adult, supine; 0 is a straight spine.
        scoliosis_deg: largest coronal tilt of a vertebra.
        lumbar_vertebrae: 5; 6 adds a lumbar vertebra without ribs below L5 (``Level.L6``).
        fat_mm: thickness of the subcutaneous fat.
        girth: factor on the width and depth of the trunk, in addition to ``size``.
    """

    size: float = 1.0
    lordosis: float = 1.0
    scoliosis_deg: float = 0.0
    lumbar_vertebrae: int = 5
    fat_mm: float = 18.0
    girth: float = 1.0


@dataclass(frozen=True, slots=True)
class PhantomParameters:
    """Everything a phantom depends on: equal parameters give equal files.

    Attributes:
        density_mg_cm3: trabecular density of every vertebra that ``level_densities_mg_cm3`` does not name.
        level_densities_mg_cm3: densities of single levels.
        cortical_hu: attenuation of the cortical shell, which is 1 mm thick (effective value at CT resolution, rounded).
        texture_sd_hu: standard deviation of an inhomogeneity of all tissue, 0 for none. The mean of a small region then
            differs from the truth by chance.
        noise_sd_hu: standard deviation of the noise in the image, 0 for none.
        pixel_spacing_mm: distance between pixel centres, the same for rows and columns.
        slice_distance_mm: distance between slice centres.
        slice_thickness_mm: length over which each slice averages; ``None``: the slice distance.
        orientation: plane of the slices.
        reverse_slices: the slices run to the feet, to the right or to the front; otherwise to the head, the left or the
            back.
        slice_rotation_deg: rotation vector of the imaged box, and with it the slices, against the patient's axes.
        pose_deg: rotation vector of the patient about the centre of L3; the table and the slices stay.
        pathology: fractures, degeneration, cement, lesions, cages.
        l3_position_lps_mm: position of the centre of L3.
        calibration: a calibration phantom on the table, beneath the patient or without one.
        seed: for the noise and the positions of the bowel loops.
    """

    density_mg_cm3: float = 100.0
    level_densities_mg_cm3: tuple[tuple[Level, float], ...] = ()
    scanner: Scanner = field(default_factory=Scanner)
    kernel: Kernel = STANDARD_KERNEL
    cortical_hu: float = 500.0
    texture_sd_hu: float = 0.0
    noise_sd_hu: float = 20.0
    pixel_spacing_mm: float = 0.8
    slice_distance_mm: float = 1.0
    slice_thickness_mm: float | None = None
    orientation: Orientation = Orientation.AXIAL
    reverse_slices: bool = False
    slice_rotation_deg: Vector = (0.0, 0.0, 0.0)
    patient_position: PatientPosition = PatientPosition.HEAD_FIRST_SUPINE
    field_of_view: FieldOfView = field(default_factory=FieldOfView)
    spine: Spine = field(default_factory=Spine)
    pose_deg: Vector = (0.0, 0.0, 0.0)
    l3_position_lps_mm: Vector = (0.0, 40.0, -480.0)
    contrast: Contrast = UNENHANCED
    screws: Screws | None = None
    pathology: Pathology = NO_PATHOLOGY
    calibration: CalibrationSetup | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges of all values.

        Raises:
            ConfigurationError: a value is out of its range; the message names it.
        """
        ranges = (
            ("density_mg_cm3", self.density_mg_cm3, -200.0, 1000.0),
            ("texture_sd_hu", self.texture_sd_hu, 0.0, 100.0),
            ("noise_sd_hu", self.noise_sd_hu, 0.0, 500.0),
            ("pixel_spacing_mm", self.pixel_spacing_mm, 0.2, 10.0),
            ("slice_distance_mm", self.slice_distance_mm, 0.2, 20.0),
            ("slice_thickness_mm", self.thickness_mm, 0.2, 20.0),
            ("kernel.fwhm_mm", self.kernel.fwhm_mm, 0.0, 10.0),
            ("kernel.edge", self.kernel.edge, 0.0, 3.0),
            ("spine.size", self.spine.size, 0.5, 2.0),
            ("seed", self.seed, 0, 2**63),
            ("number of voxels", self._voxels(), 1.0, _MOST_VOXELS),
            ("spine.lumbar_vertebrae", self.spine.lumbar_vertebrae, 5, 6),
            ("scanner.slope_mg_cm3_per_hu", self.scanner.slope_mg_cm3_per_hu, 0.1, 10.0),
            *((f"density of {level.name}", value, -200.0, 1000.0) for level, value in self.level_densities_mg_cm3),
            *((f"fracture of {one.level.name}", one.height_loss, 0.0, 0.8) for one in self.pathology.fractures),
            *(("field_of_view.extent_mm", extent, 5.0, 2000.0) for extent in self.field_of_view.extent_mm),
        )
        for name, value, low, high in ranges:
            if not low <= value <= high:
                raise ConfigurationError(f"phantom: {name} is {value:g}, must be {low:g} to {high:g}")

    def _voxels(self) -> float:
        x, y, z = self.field_of_view.extent_mm
        return x * y * z / max(self.pixel_spacing_mm**2 * self.slice_distance_mm, 1e-3)

    @property
    def thickness_mm(self) -> float:
        """Slice thickness."""
        return self.slice_distance_mm if self.slice_thickness_mm is None else self.slice_thickness_mm

    def density_of(self, level: Level) -> float:
        """Trabecular density of a level in mg/cm3."""
        return dict(self.level_densities_mg_cm3).get(level, self.density_mg_cm3)
