"""Choosing a segmenter."""

from __future__ import annotations

import pytest

from node.errors import ConfigurationError
from node.segment import load_segmenter
from node.segment.embedded import EmbeddedSegmenter


def test_an_unknown_segmenter_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match="embedded"):
        load_segmenter("nnunet")


def test_weights_of_another_network_are_refused() -> None:
    import torch
    from safetensors.torch import save

    with pytest.raises(ConfigurationError, match="do not fit"):
        EmbeddedSegmenter(save({"stem.weight": torch.zeros(1)}))
