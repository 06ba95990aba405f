"""What a TorchScript archive must declare so that the node can run it: the file ``bmd-node.json`` inside it.

``docs/segmenters.md`` explains it with examples.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from node.common.errors import ConfigurationError
from node.segment.labelled import RIB, SACRUM
from node.segment.network import Tissue

CONTRACT_FILE = "bmd-node.json"
#: Offsets from a voxel of a body to the centre of its body, in mm along axis 0, 1 and 2.
OFFSETS = ("offset_s", "offset_p", "offset_l")
TISSUES = {tissue.name.lower(): tissue for tissue in Tissue}
#: Whole vertebrae or bodies by name, with their numbers as in :class:`node.segment.labelled.SpineLabels`.
VERTEBRAE = {
    f"vertebra_{region}{i}": before + i
    for region, before, n in (("C", 0, 7), ("T", 7, 12), ("L", 19, 6))
    for i in range(1, n + 1)
}
#: Classes that are needed for labelling, for the two kinds of networks.
NEEDED_TISSUES = ("background", "upper_body", "lumbar_body", "sacrum", "rib", *OFFSETS)
NEEDED_VERTEBRAE = ("background", "sacrum", "rib", "vertebra_T11", "vertebra_T12", *(f"vertebra_L{i}" for i in range(1, 6)))
#: A patch must contain a whole vertebra.
LEAST_PATCH_MM = 96.0


class Contract(BaseModel):
    """The contract, version 1. Spatial axes are always (superior, posterior, left), voxels isotropic."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, strict=True)

    contract: Literal[1]
    """Version of this contract."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9 ._-]+$")
    """Name of the network, for the record."""

    version: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9 .+_-]+$")
    """Version of its weights, for the record."""

    spacing_mm: float = Field(ge=1.0, le=4.0)
    """Edge of an input voxel."""

    hu_range: tuple[float, float]
    """Lowest and highest HU of the input; what lies beyond is clipped, air outside of the scan is the lowest."""

    patch_voxels: int = Field(ge=24, le=256)
    """Edge n of a patch: the network maps float32 (1, 1, n, n, n) to float (1, channels, n, n, n)."""

    channels: tuple[str, ...] = Field(min_length=2)
    """Names of the output channels in order: logits of classes, then the offsets in mm, if it has them."""

    vertebrae: Literal["whole", "body"] | None = None
    """Only with ``vertebra_...`` channels: whether they hold whole vertebrae (cut down by the node) or bodies alone."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if not -1024.0 <= self.hu_range[0] < self.hu_range[1]:
            raise ValueError("hu_range: write the lowest value first; it must be -1024 or more")
        if self.patch_voxels * self.spacing_mm < LEAST_PATCH_MM:
            raise ValueError(f"patch_voxels: a patch must span at least {LEAST_PATCH_MM:.0f} mm to contain a whole vertebra")
        return self

    @model_validator(mode="after")
    def _channels_are_known(self) -> Self:
        names = self.channels
        unknown = [name for name in names if name not in {*TISSUES, *OFFSETS, *VERTEBRAE}]
        if unknown:
            raise ValueError(f"channels: unknown {', '.join(unknown)}")
        if len(set(names)) != len(names):
            raise ValueError("channels: a name is repeated")
        missing = [name for name in (NEEDED_VERTEBRAE if self.by_name else NEEDED_TISSUES) if name not in names]
        if missing:
            raise ValueError(f"channels: missing {', '.join(missing)}")
        if self.by_name:
            mixed = [name for name in names if name in {"upper_body", "lumbar_body", *OFFSETS}]
            if mixed:
                raise ValueError(f"channels: {', '.join(mixed)} cannot be combined with named vertebrae")
        elif names[-3:] != OFFSETS:
            raise ValueError(f"channels: {', '.join(OFFSETS)} must be the last three, in this order")
        if self.by_name != (self.vertebrae is not None):
            raise ValueError("vertebrae: write whole or body if there are vertebra_ channels, otherwise leave it out")
        return self

    @property
    def by_name(self) -> bool:
        """Whether the network labels vertebrae itself."""
        return any(name in VERTEBRAE for name in self.channels)

    @property
    def classes(self) -> int:
        """Number of classes: channels that are not offsets."""
        return sum(name not in OFFSETS for name in self.channels)

    def numbers(self) -> list[int]:
        """Numbers of :class:`node.segment.labelled.SpineLabels` by channel, 0 for classes that labelling does not need."""
        known = {**VERTEBRAE, "sacrum": SACRUM, "rib": RIB}
        return [known.get(name, 0) for name in self.channels[: self.classes]]


def parse_contract(text: bytes, where: str) -> Contract:
    """The contract in a file.

    Args:
        text: content of the file.
        where: name of the archive for the message.

    Raises:
        ConfigurationError: it is missing or invalid; the message names every invalid field.
    """
    if not text:
        raise ConfigurationError(f"{where} contains no {CONTRACT_FILE}: docs/segmenters.md shows how to add it.")
    try:
        return Contract.model_validate_json(text)
    except ValidationError as error:
        lines = "; ".join(": ".join([*map(str, e["loc"]), e["msg"]]) for e in error.errors(include_url=False))
        raise ConfigurationError(f"{CONTRACT_FILE} in {where} is invalid: {lines}") from error
