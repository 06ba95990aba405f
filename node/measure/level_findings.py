"""Quality findings of the levels, and what they do to the measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from node.language.phrase import joined, phrase
from node.measure.boxes import Box, affine_of, on_border, spacing_mm_of, widened
from node.measure.degeneration import collapsed_discs, osteophytes
from node.measure.effects import level_effect
from node.measure.fracture import HeightLoss, height_losses, in_doubt
from node.measure.heights import BodyShape, body_shape
from node.measure.inside import AROUND_MM, BodyView, cement, lesion, others_of, sclerosis
from node.measure.levels import mean_of
from node.measure.metal import metal_at_end_plate
from node.measure.region import FloatArray
from node.measure.scanned_thickness import scanned_thickness_mm
from node.model import (
    Affine,
    HuArray,
    LabelArray,
    Level,
    LevelFindingCode,
    LevelMeasurement,
    Measurement,
    Reason,
    VertebralBody,
)
from node.settings.tree import LevelEffect, QualitySettings

#: A level is an outlier if it differs from the median of at least two others by this many HU and by this share of it (an
#: assumption; the levels of one patient differ by some 10 to 20 HU).
_OUTLIER_HU, _OUTLIER_SHARE, _LEAST_OTHERS = 45.0, 0.35, 2
#: Sclerosis is at most this deep, mm; deeper voxels are still searched for lesions.
_SCLEROSIS_DEPTH_MM = 10.0
#: A body deeper than the patient's others by this factor has anterior osteophytes in its outline (an assumption).
_OSTEOPHYTE_DEPTH = 1.15


def judge_levels(
    hu: HuArray,
    labels: LabelArray,
    affine_lps_mm: Affine,
    bodies: Sequence[VertebralBody],
    measurement: Measurement,
    settings: QualitySettings,
    metal_hu: float,
    slice_thickness_mm: float | None = None,
) -> Measurement:
    """Add the quality findings of every level, and apply the effects in the settings.

    The codes are in :class:`~node.model.LevelFindingCode`. ``metal``, ``streaks``, ``truncated`` and ``region_too_small``
    come with the measurement; ``cement`` replaces ``metal``. ``form_not_judged`` means that the shape was not assessed, so
    no fracture could be detected. Every fracture, also of T12 and L5, is repeated as a finding of the study. Next to a cage
    neither fracture nor sclerosis is reported: the outline there is not that of bone, and the dense part is metal.

    Args:
        hu, labels, affine_lps_mm, bodies: as in :func:`node.measure.measure_levels`.
        measurement: the result of that function.
        settings: the effect of each code.
        metal_hu: the metal limit used for the measurement.
        slice_thickness_mm: Slice Thickness of slices across the spine; ``None`` if it is not stated, or for other slices.
    """
    thickness_mm = scanned_thickness_mm(hu, labels, affine_lps_mm, slice_thickness_mm)
    spine = _spine(hu, labels, affine_lps_mm, bodies, metal_hu, thickness_mm)
    found = [replace(level, findings=_findings(level, spine)) for level in measurement.levels]
    judged = _with_effects(_with_outliers(_with_effects(found, settings)), settings)
    refusals = _refusals(judged, settings)
    if refusals:
        judged = [replace(level, usable=False) for level in judged]
    return replace(
        measurement,
        levels=tuple(judged),
        hu_mean=mean_of(judged),
        findings=(*measurement.findings, *_fractures_seen(_certain(spine)), *refusals),
        refused=measurement.refused or bool(refusals),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Spine:
    """What the findings of one level need to know about all bodies.

    Attributes:
        views: every named body with its surroundings.
        shapes: of the bodies that are complete in the image, from the head downward.
        impossible: shapes that no body has; they are not judged.
        caged: levels with an implant at an end plate.
        cemented: the finding of each level with cement.
        plain: views of the whole bodies with neither metal nor cement, for comparison.
        losses: the fractured levels.
        thickness_mm: thickness that was scanned along the spine.
        discs: the finding of each level next to a narrowed disc.
    """

    views: Mapping[Level, BodyView]
    shapes: Mapping[Level, BodyShape]
    impossible: Mapping[Level, BodyShape]
    caged: frozenset[Level]
    cemented: Mapping[Level, Reason]
    plain: Mapping[Level, BodyView]
    losses: Mapping[Level, HeightLoss]
    thickness_mm: float
    discs: Mapping[Level, Reason]


def _spine(
    hu: HuArray,
    labels: LabelArray,
    affine_lps_mm: Affine,
    bodies: Sequence[VertebralBody],
    metal_hu: float,
    thickness_mm: float,
) -> _Spine:
    """Collect this from all bodies before any of them is assessed."""
    boxes = _boxes(labels)
    seen = _shapes(labels, boxes, affine_lps_mm, bodies)
    shapes = {level: shape for level, shape in seen.items() if shape.possible}
    named = [level for level in sorted(body.level for body in bodies) if level in boxes]
    views = {level: _view(hu, labels, boxes[level], affine_lps_mm, level, shapes.get(level), metal_hu) for level in named}
    caged = frozenset(level for level, shape in seen.items() if _has_cage(views[level], shape, metal_hu))
    cemented = {level: found for level, view in views.items() if (found := cement(view)) is not None}
    plain = {
        level: view
        for level, view in views.items()
        if level not in cemented and not on_border(boxes[level], labels.shape) and view.away_from(metal_hu)[view.mask].all()
    }
    with_bony_end_plates = [shape for level, shape in shapes.items() if level not in caged]
    return _Spine(
        views=views,
        shapes=shapes,
        impossible={level: shape for level, shape in seen.items() if not shape.possible},
        caged=caged,
        cemented=cemented,
        plain=plain,
        losses=height_losses(with_bony_end_plates),
        thickness_mm=thickness_mm,
        discs=collapsed_discs(list(shapes.values()), thickness_mm, caged),
    )


def _boxes(labels: LabelArray) -> dict[Level, Box]:
    """Bounding box of every body in the label map."""
    objects = ndimage.find_objects(labels, max_label=max(Level))
    return {Level(number): box for number, box in enumerate(objects, 1) if box is not None and number in set(Level)}


def _has_cage(view: BodyView, shape: BodyShape, metal_hu: float) -> bool:
    return metal_at_end_plate(view.hu, view.affine_lps_mm, shape, metal_hu)


def _findings(measured: LevelMeasurement, spine: _Spine) -> tuple[Reason, ...]:
    """All findings of one level: those of its measurement, then fracture, inside of the body, and surroundings."""
    level, view = measured.level, spine.views[measured.level]
    findings = [*measured.findings, *_shape_findings(measured, spine)]
    found_cement, others = spine.cemented.get(level), others_of(spine.plain, level)
    if found_cement is not None:
        findings = [finding for finding in findings if finding.code != LevelFindingCode.METAL] + [found_cement]
    metal = any(finding.code in (LevelFindingCode.METAL, LevelFindingCode.CEMENT) for finding in findings)
    sclerotic = None if level in spine.caged else sclerosis(view, others, cemented=found_cement is not None)
    lesion_or_osteophytes: tuple[Reason | None, ...] = ()
    if not metal:
        below_mm = _SCLEROSIS_DEPTH_MM if sclerotic is not None else 0.0
        lesion_or_osteophytes = (lesion(view, others, below_mm), osteophytes(view))
    more = (sclerotic, *lesion_or_osteophytes, spine.discs.get(level))
    return (*findings, *(finding for finding in more if finding is not None))


def _shape_findings(measured: LevelMeasurement, spine: _Spine) -> list[Reason]:
    """Fracture, or that the shape could not be assessed; the finding ``truncated`` already says so."""
    findings = []
    truncated = any(finding.code == LevelFindingCode.TRUNCATED for finding in measured.findings)
    impossible = spine.impossible.get(measured.level)
    if impossible is not None and measured.level not in spine.caged:
        bulging = phrase(
            "shape not assessed: outlined {anterior:.0f} mm high in front, {middle:.0f} mm in the middle and "
            "{posterior:.0f} mm behind, which no vertebral body is; a fracture cannot be told",
            anterior=impossible.anterior_mm,
            middle=impossible.middle_mm,
            posterior=impossible.posterior_mm,
        )
        findings.append(Reason(LevelFindingCode.FORM_NOT_JUDGED, bulging))
    elif measured.level not in spine.shapes and impossible is None and not truncated:
        unclear = phrase("shape not assessed: the end plates are not outlined well enough to detect a fracture")
        findings.append(Reason(LevelFindingCode.FORM_NOT_JUDGED, unclear))
    loss = spine.losses.get(measured.level)
    if loss is not None and in_doubt(loss, spine.thickness_mm):
        coarse = phrase(
            "shape not assessed: {loss:.0f} % height loss {against}; slices of {thickness:.1f} mm are too thick to tell",
            loss=100 * loss.loss,
            against=loss.against,
            thickness=spine.thickness_mm,
        )
        findings.append(Reason(LevelFindingCode.FORM_NOT_JUDGED, coarse))
    elif loss is not None:
        findings.append(Reason(LevelFindingCode.FRACTURE, loss.said))
    return findings


def _refusals(levels: Sequence[LevelMeasurement], settings: QualitySettings) -> tuple[Reason, ...]:
    """Findings of levels that refuse the study, each with its level."""
    return tuple(
        Reason(finding.code, joined((level.level.name, finding.detail), ": "))
        for level in levels
        for finding in level.findings
        if _effect(finding, settings) == "refuse"
    )


def _shapes(
    labels: LabelArray, boxes: Mapping[Level, Box], affine_lps_mm: Affine, bodies: Sequence[VertebralBody]
) -> dict[Level, BodyShape]:
    """Shapes of the bodies that are complete in the image, from the head downward."""
    centres = {body.level: np.array(body.centroid_lps_mm) for body in bodies if body.level in boxes}
    whole = {level: boxes[level] for level in sorted(centres) if not on_border(boxes[level], labels.shape)}

    def shape_of(level: Level, most_depth_mm: float = np.inf) -> BodyShape | None:
        box = whole[level]
        return body_shape(
            labels[box] == level,
            affine_of(box, affine_lps_mm),
            level,
            _along(level, centres),
            most_depth_mm,
        )

    shapes = {level: shape for level in whole if (shape := shape_of(level)) is not None}
    depths = {level: shape.depth_mm for level, shape in shapes.items()}
    for level, depth_mm in depths.items():
        others = [other for name, other in depths.items() if name is not level]
        usual_mm = float(np.median(others)) if len(others) >= _LEAST_OTHERS else np.inf
        if depth_mm > _OSTEOPHYTE_DEPTH * usual_mm:
            without = shape_of(level, usual_mm)
            shapes[level] = without if without is not None else shapes[level]
    return shapes


def _along(level: Level, centres: Mapping[Level, FloatArray]) -> FloatArray:
    """Direction of the spine at a body, towards the head: the mean direction to its neighbours."""

    def step(upper: int) -> FloatArray | None:
        """Unit vector from one body up to the next."""
        pair = [centres.get(Level(k)) if k in set(Level) else None for k in (upper, upper + 1)]
        if pair[0] is None or pair[1] is None:
            return None
        way = pair[0] - pair[1]
        return np.asarray(way / np.linalg.norm(way))

    ways = [way for way in (step(level - 1), step(level)) if way is not None]
    return np.asarray(np.sum(ways, axis=0)) if ways else np.array([0.0, 0.0, 1.0])


def _view(
    hu: HuArray, labels: LabelArray, box: Box, affine_lps_mm: Affine, level: Level, shape: BodyShape | None, metal_hu: float
) -> BodyView:
    """A body with its surroundings."""
    wide = widened(box, [int(AROUND_MM / spacing) for spacing in spacing_mm_of(affine_lps_mm)])
    here = labels[wide]
    own = here == level
    return BodyView(hu[wide].astype(np.float64), own, (here != 0) & ~own, affine_of(wide, affine_lps_mm), shape, metal_hu)


def _with_outliers(levels: Sequence[LevelMeasurement]) -> list[LevelMeasurement]:
    usable = {level.level: level.hu_mean for level in levels if level.usable and level.hu_mean is not None}
    out = []
    for level in levels:
        others = [hu for other, hu in usable.items() if other is not level.level]
        own = level.hu_mean if level.level in usable or _has_lesion(level) else None
        if own is not None and len(others) >= _LEAST_OTHERS:
            usual = float(np.median(others))
            if abs(own - usual) > max(_OUTLIER_HU, _OUTLIER_SHARE * abs(usual)):
                detail = phrase("{own:.0f} HU; the median of the other levels is {usual:.0f} HU", own=own, usual=usual)
                level = replace(level, findings=(*level.findings, Reason(LevelFindingCode.OUTLIER, detail)))
        out.append(level)
    return out


def _has_lesion(level: LevelMeasurement) -> bool:
    """Whether the level is measured and has a lesion: then it also says how far it is from the others."""
    codes = {finding.code for finding in level.findings}
    return LevelFindingCode.FOCAL_LESION in codes and LevelFindingCode.REGION_TOO_SMALL not in codes


def _with_effects(levels: Sequence[LevelMeasurement], settings: QualitySettings) -> list[LevelMeasurement]:
    """The levels; those with an excluding finding no longer count."""
    return [replace(level, usable=level.usable and not _excluded(level, settings)) for level in levels]


def _excluded(level: LevelMeasurement, settings: QualitySettings) -> bool:
    return any(_effect(finding, settings) == "exclude" for finding in level.findings)


def _effect(finding: Reason, settings: QualitySettings) -> LevelEffect:
    return level_effect(LevelFindingCode(finding.code), settings)


def _certain(spine: _Spine) -> dict[Level, HeightLoss]:
    return {level: loss for level, loss in spine.losses.items() if not in_doubt(loss, spine.thickness_mm)}


def _fractures_seen(losses: Mapping[Level, HeightLoss]) -> tuple[Reason, ...]:
    """One finding of the study that names every fracture, also of vertebrae that are not measured."""
    if not losses:
        return ()
    each = joined((joined((level.name, loss.said), " ") for level, loss in sorted(losses.items())), "; ")
    return (Reason(LevelFindingCode.FRACTURE, phrase("{each}. A fragility fracture matters at any BMD.", each=each)),)
