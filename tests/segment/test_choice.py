"""Choosing a segmenter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from node.common.errors import ConfigurationError
from node.segment import load_segmenter
from node.segment.embedded import EmbeddedSegmenter
from node.settings.tree import SegmentSettings, Settings
from node.study.pipeline import Pipeline


def test_the_embedded_one_is_the_default() -> None:
    assert isinstance(load_segmenter(SegmentSettings()), EmbeddedSegmenter)


@pytest.mark.parametrize("choice", ["nnunet", "", "Embedded", "torchscript"])
def test_an_unknown_segmenter_is_refused_with_what_there_is(choice: str) -> None:
    with pytest.raises(ConfigurationError, match=r"to embedded, totalsegmentator or torchscript:PATH"):
        load_segmenter(SegmentSettings(segmenter=choice))


def test_the_rooms_take_no_other_segmenter_instead(tmp_path: Path) -> None:
    missing = tmp_path / "spine.pt"
    with pytest.raises(ConfigurationError, match=r"spine\.pt does not exist"):
        Pipeline(Settings(state_dir=tmp_path, segment=SegmentSettings(segmenter=f"torchscript:{missing}"))).load()


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="do not fit"):
        EmbeddedSegmenter(save({"stem.weight": torch.zeros(1)}))
