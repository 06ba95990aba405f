"""Compressed images that end too early: refused at once. CharLS searches for the end of some of them for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, JPEGLSLossless

from node.common.errors import InputError
from node.select import load_volume, select_series
from tests.select.ct_series import make_series, write
from tests.select.test_stored_bits import ENOUGH, hold


@pytest.mark.timeout(60)
@pytest.mark.parametrize("padding", [b"", b"\0", b"\xff"])
@pytest.mark.parametrize("share", [0.2, 0.9, 0.99])
def test_a_stream_without_an_end_is_refused_before_it_is_decoded(tmp_path: Path, share: float, padding: bytes) -> None:
    series = make_series(8)
    for ds in series:
        hold(ds, np.frombuffer(ds.PixelData, dtype="<u2").reshape(ds.Rows, ds.Columns), UID(JPEGLSLossless))
    stream = next(generate_frames(series[3].PixelData, number_of_frames=1)).rstrip(b"\0")
    series[3].PixelData = encapsulate([stream[: int(share * (len(stream) - 2))] + padding])
    (candidate,) = select_series(write(tmp_path, series), ENOUGH).candidates
    with pytest.raises(InputError, match="a compressed image has no end"):
        load_volume(candidate)
