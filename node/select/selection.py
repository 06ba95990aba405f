"""The whole selection: from files to candidates, with a reason for everything that is left out."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from node.clinical.identity import Issuers
from node.common.errors import InputError
from node.language.phrase import as_phrase, phrase
from node.model import Reason, Selection, SeriesLeftOut
from node.select.admission import refusal
from node.select.budget import check_file, frame_beyond_budget, series_beyond_budget
from node.select.copies import Instance, without_copies
from node.select.grouping import Limits, Stack, of_part, stacks_of_series
from node.select.headers import FrameHeader, read_headers, values_judged_here
from node.select.patients import other_patients
from node.select.ranking import Ranked, candidates, extent_mm, rank
from node.settings.tree import SelectSettings

_logger = logging.getLogger(__name__)

_NO_ISSUERS = Issuers()
#: Positions in headers are rounded, so a distance may exceed its limit by this much.
_DISTANCE_ROUNDING_MM = 0.01


def select_series(paths: Sequence[Path], settings: SelectSettings, issuers: Issuers = _NO_ISSUERS) -> Selection:
    """Rank the series in a set of files by their headers. No pixel is decoded, except for copies that differ.

    Files of several studies may be mixed. The candidates are those of the study with the best one; series of other studies
    are left out as ``other_study``.

    Args:
        paths: DICOM files, as from :func:`node.select.find_dicom`. A path that occurs twice counts once.
        settings: limits.
        issuers: spellings of the issuers of patient numbers.

    Returns:
        The candidates, the best first, possibly none; and every series (or part of one) that is left out, with a stable code
        and a sentence with the measured value. The series UID is empty for a file that could not be read.
    """
    with values_judged_here():
        instances, left_out = _read(paths, settings)
        copies = without_copies(instances, issuers)
    left_out += copies.left_out
    by_series: dict[tuple[str, str], list[FrameHeader]] = defaultdict(list)
    for instance in copies.kept:
        for frame in instance:
            by_series[frame.study_instance_uid, frame.series_instance_uid].append(frame)
    refused = other_patients(by_series, issuers)
    left_out += refused.values()
    ranked: list[Ranked] = []
    for key, frames in by_series.items():
        if key in refused or key in copies.of_other_patients:
            continue
        found, reasons = _judge(frames, settings)
        ranked += rank(found, settings.accept_image_types)
        left_out += reasons
    if ranked:
        study_uid = min(ranked, key=lambda one: one.rank).facts.study_instance_uid
        others = {(r.facts.study_instance_uid, r.facts.series_instance_uid) for r in ranked}
        left_out += [
            SeriesLeftOut(
                series_uid,
                "other_study",
                phrase("from study {other}; the best series is in study {study}", other=other_uid, study=study_uid),
            )
            for other_uid, series_uid in sorted(others)
            if other_uid != study_uid
        ]
        ranked = [one for one in ranked if one.facts.study_instance_uid == study_uid]
    _logger.info("%d files, %d series, %d candidates", len(paths), len(by_series), len(ranked))
    return Selection(candidates(ranked, issuers), tuple(left_out))


def _read(paths: Sequence[Path], settings: SelectSettings) -> tuple[list[Instance], list[SeriesLeftOut]]:
    instances: list[Instance] = []
    left_out: list[SeriesLeftOut] = []
    for path in dict.fromkeys(paths):
        try:
            check_file(path, settings)
            instances.append(read_headers(path))
        except InputError as error:
            left_out.append(SeriesLeftOut("", "unreadable", as_phrase(error.said)))
    return instances, left_out


def _judge(frames: Sequence[FrameHeader], settings: SelectSettings) -> tuple[list[Stack], list[SeriesLeftOut]]:
    """The stacks of one series that may be measured, and reasons for the rest."""
    series_uid = frames[0].series_instance_uid
    admitted: list[FrameHeader] = []
    refused: dict[str, list[Reason]] = defaultdict(list)
    for frame in frames:
        if reason := refusal(frame, settings.accept_image_types) or frame_beyond_budget(frame, settings):
            refused[reason.code].append(reason)
        else:
            admitted.append(frame)
    left_out = [
        SeriesLeftOut(
            series_uid,
            code,
            phrase("{n} of {total} images: {why}", n=len(reasons), total=len(frames), why=reasons[0].detail),
        )
        for code, reasons in refused.items()
    ]
    stacks, strays = stacks_of_series(admitted, Limits(settings.min_slices, settings.max_gantry_tilt_deg))
    kept = []
    for stack in stacks:
        if reason := _beyond_limits(stack, settings):
            left_out.append(SeriesLeftOut(series_uid, reason.code, reason.detail))
        else:
            kept.append(stack)
    return kept, left_out + strays


def _beyond_limits(stack: Stack, settings: SelectSettings) -> Reason | None:
    distance_mm = float((stack.positions[-1] - stack.positions[0]) @ stack.plane.normal) / (len(stack.frames) - 1)
    if distance_mm > settings.max_slice_distance_mm + _DISTANCE_ROUNDING_MM:
        said = phrase(
            "the slices are {distance:.2f} mm apart, at most {most:g} mm are allowed",
            distance=distance_mm,
            most=settings.max_slice_distance_mm,
        )
        return Reason("slice_distance_too_large", of_part(stack.split_by, said))
    extent = extent_mm(stack)
    if extent < settings.min_extent_mm:
        said = phrase(
            "{extent:.0f} mm from head to foot, at least {least:g} mm are needed",
            extent=extent,
            least=settings.min_extent_mm,
        )
        return Reason("extent_too_small", of_part(stack.split_by, said))
    return series_beyond_budget(stack.plane, stack.positions, stack.frames[0], settings)
