"""From a volume to labelled vertebral bodies.

``segmenter.segment(volume, progress)`` finds the bodies, outlines them on the volume's own grid and labels their levels. If
the levels are not certain, it labels none and gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from node.common.errors import ConfigurationError
from node.model import Segmentation, Volume
from node.settings.tree import SegmentSettings

__all__ = ["Segmenter", "load_segmenter"]

_TORCHSCRIPT = "torchscript:"


class Segmenter(Protocol):
    """Interface of every segmenter.

    Attributes:
        name: as chosen in the settings.
        version: of the method or its weights, for the record.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def segment(self, volume: Volume, progress: Callable[[str], None]) -> Segmentation:
        """Label the lumbar vertebral bodies of a volume. ``progress`` is called with one short line per step."""
        ...


def load_segmenter(settings: SegmentSettings) -> Segmenter:
    """The segmenter chosen in the settings, ready to run. This needs no network access.

    Raises:
        ConfigurationError: there is no such segmenter, or it cannot be used; the message says what to do. No other one
            is used instead.
    """
    # Each import loads torch or more; a process that never segments should not wait for it.
    choice = settings.segmenter
    if choice == "embedded":
        from node.segment.embedded import EmbeddedSegmenter

        return EmbeddedSegmenter(convention=settings.level_convention)
    if choice == "totalsegmentator":
        from node.segment.totalsegmentator import TotalSegmentator

        return TotalSegmentator(settings.totalsegmentator_weights, settings.level_convention)
    if choice.startswith(_TORCHSCRIPT):
        from node.segment.torchscript import TorchScriptSegmenter

        return TorchScriptSegmenter(Path(choice.removeprefix(_TORCHSCRIPT)), settings.level_convention)
    raise ConfigurationError(
        f"Unknown segmenter {choice!r}: set segmenter in [segment] to embedded, totalsegmentator or torchscript:PATH."
    )
