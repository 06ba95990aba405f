"""The summary page: geometry of its pictures, words, legibility, and the object around it."""

import functools
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from pydicom.dataset import Dataset

from node.language.catalogue import Language
from node.language.phrase import phrase
from node.measure.fracture import HeightLoss
from node.model import AcrCategory, ContrastPhase, FractureKind, Level, Reason, SeriesLeftOut
from node.report import build_summary_page, render_page, render_summary, whose_page, without_whose
from node.report.notes import page_notes
from node.report.page import page_figure, take_views
from node.report.page_views import Reformatter, View
from node.report.palette import LEVEL_RGB
from tests.report.conftest import (
    BODIES,
    CREATED,
    MEASURED_RESULTS,
    ORIENTATIONS,
    hu_only,
    labels_of,
    measured,
    normal,
    not_measured,
    one_level,
    synthetic_ct,
    with_fractures,
    withheld,
)

ALL = MEASURED_RESULTS | {"not_measured": not_measured}


def _figure(ct, result, language=Language.EN, whose=None):
    figure = page_figure(take_views(ct.volume, *labels_of(ct, result), result), result, language, whose)
    FigureCanvasAgg(figure).draw()
    return figure


def _words(figure) -> str:
    return " ".join(t.get_text() for t in figure.findobj(Text))


def _extent(view: View, mask: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of a mask in mm."""
    row, column = np.nonzero(mask > 0.5)
    rows, columns = view.hu.shape
    across, down = (view.right_mm - view.left_mm) / columns, (view.bottom_mm - view.top_mm) / rows
    return (
        view.left_mm + column.min() * across,
        view.left_mm + (column.max() + 1) * across,
        view.top_mm + row.min() * down,
        view.top_mm + (row.max() + 1) * down,
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pictures_show_every_body_where_it_is_and_as_large_as_it_is(orientation):
    ct = synthetic_ct(orientation)
    result = measured(ct)
    reformatter = Reformatter(ct.volume, ct.labels, ct.regions, result.bodies)
    sagittal, coronal = reformatter.sagittal(170.0, 100.0), reformatter.coronal(170.0, 100.0)
    # head up; anterior on the left of the sagittal and at the top of the axial; the patient's right on the left
    for view in (sagittal, coronal):
        assert view.top_mm > view.bottom_mm
        assert view.left_mm < view.right_mm
    coarse = max(ct.volume.axis_spacing_mm)
    for level, ((x, y, z), (half_x, half_y, half_z)) in BODIES.items():
        for view, middle, half in ((sagittal, y, half_y), (coronal, x, half_x)):
            mask = next(outline.mask for outline in view.bodies if outline.level is level)
            expected = (middle - half, middle + half, z + half_z, z - half_z)
            np.testing.assert_allclose(_extent(view, mask), expected, atol=coarse)
        axial = reformatter.axial((x, y, z), 66.0)
        mask = next(outline.mask for outline in axial.bodies if outline.level is level)
        np.testing.assert_allclose(_extent(axial, mask), (x - half_x, x + half_x, y - half_y, y + half_y), atol=coarse)
        assert axial.top_mm < axial.bottom_mm


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_grey_values_and_outlines_share_the_grid(orientation):
    ct = synthetic_ct(orientation)
    reformatter = Reformatter(ct.volume, ct.labels, ct.regions, measured(ct).bodies)
    for view in (
        reformatter.sagittal(170.0, 90.0),
        reformatter.coronal(170.0, 90.0),
        reformatter.axial(BODIES[Level.L2][0], 66.0),
    ):
        inside = np.max([outline.mask for outline in view.bodies], axis=0) > 0.9
        tissue = (view.hu > -100) & (np.max([outline.mask for outline in view.bodies], axis=0) < 0.1)
        # bodies are 120 HU above what surrounds them, their shells more
        assert view.hu[inside].mean() > view.hu[tissue].mean() + 100
        rows, columns = view.hu.shape
        assert (view.right_mm - view.left_mm) / columns == pytest.approx(0.5)
        assert abs(view.bottom_mm - view.top_mm) / rows == pytest.approx(0.5)


def test_reformats_follow_a_curved_spine():
    ct = synthetic_ct("axial")
    straight = tuple(replace(body, centroid_lps_mm=(40.0, 15.0, body.centroid_lps_mm[2])) for body in measured(ct).bodies)
    beside = Reformatter(ct.volume, ct.labels, ct.regions, straight).sagittal(170.0, 90.0)
    assert beside.bodies == ()
    along = Reformatter(ct.volume, ct.labels, ct.regions, measured(ct).bodies).sagittal(170.0, 90.0)
    assert {outline.level for outline in along.bodies} == set(BODIES)


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_of_result_has_a_page(axial, kind):
    result = ALL[kind](axial)
    page = render_summary(axial.volume, *labels_of(axial, result), result)
    assert (page.shape, page.dtype) == ((1024, 1280, 3), np.uint8)
    assert page[130:800].std() > 20


def test_same_result_same_page(axial):
    result = measured(axial)
    one, two = (render_summary(axial.volume, axial.labels, axial.regions, result) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_measured_page_says_what_counts(axial):
    words = _words(_figure(axial, measured(axial)))
    for part in (
        "Low bone mass range", "97.1 mg/cm³", "interval 88 to 106", "L1 to L4", "not a diagnosis", "Philips Brilliance 64",
        "120 kVp", "kernel B", "no contrast", "BMD = 0.78 x HU", "PMC7964446", "osteoporosis", "80", "120", "102.4",
    ):  # fmt: skip
        assert part in words, part
    assert "does not rule out" not in words


@pytest.mark.parametrize("orientation", ["axial", "coronal"])
def test_the_picture_of_a_page_without_result_lies_under_its_title_and_scale(orientation):
    ct = synthetic_ct(orientation)
    result = not_measured(ct)
    views = take_views(ct.volume, *labels_of(ct, result), result)
    axes = page_figure(views, result).axes[0]
    drawn = axes.get_window_extent()
    view = views.sagittal
    assert drawn.width / drawn.height == pytest.approx((view.right_mm - view.left_mm) / (view.top_mm - view.bottom_mm), 0.01)
    # no higher than the volume, and all of it
    z = ct.volume.affine_lps_mm @ np.array([[0, 0, 0, 1], [*(n - 1 for n in ct.volume.hu.shape), 1]]).T
    assert sorted(z[2]) == pytest.approx([view.bottom_mm, view.top_mm], abs=1.0)


def test_normal_page_warns_and_names_the_excluded_level(axial):
    words = _words(_figure(axial, normal(axial)))
    assert "A normal result does not rule out low BMD." in words
    assert "L1 excluded: screw in the body." in " ".join(words.split())


def test_page_without_equation_shows_hu_and_no_category(axial):
    words = _words(_figure(axial, hu_only(axial)))
    assert "Attenuation only, no BMD" in words
    assert "Trabecular attenuation, HU" in words
    said = " ".join(words.split())
    # the reason first
    assert said.index("No validated HU-to-BMD equation") < said.index("Pickhardt")
    assert "low bone" not in words.lower()
    assert "normal" not in words.lower()
    contrast = replace(hu_only(axial), facts=replace(axial.volume.facts, contrast_phase=ContrastPhase.ARTERIAL))
    assert "Pickhardt" not in _words(_figure(axial, contrast))


def test_borderline_page_says_so(axial):
    result = measured(axial)
    bmd = replace(result.bmd, bmd_mg_cm3=83.97, interval_mg_cm3=(79.6, 88.4), thresholds_crossed_mg_cm3=(80.0,))
    words = _words(_figure(axial, replace(result, bmd=bmd)))
    assert "Low bone mass range (borderline)" in words
    assert "interval 79.6 to 88" in words
    assert "Borderline: the interval also reaches the osteoporosis range" in " ".join(words.split())
    assert "orderline" not in _words(_figure(axial, result))


def test_withheld_category_is_not_on_the_page(axial):
    words = _words(_figure(axial, withheld(axial)))
    assert "BMD without category" in words
    assert "portal venous" in words
    assert "ACR," not in words


def test_not_measured_page_gives_the_reasons(axial):
    result = not_measured(axial)
    for figure in (_figure(axial, result), page_figure(None, replace(result, facts=None))):
        words = " ".join(_words(figure).split())
        assert "Not measured" in words
        assert "No complete lumbar vertebra in the series" in words
        assert "the series is a localizer" in words


def test_a_study_that_was_not_measured_never_shows_a_value(axial):
    words = _words(_figure(axial, replace(measured(axial), status="not_measured")))
    assert "Low bone mass" not in words
    assert "97.1" not in words


def test_a_level_that_was_not_found_is_named(axial):
    assert "Not found in the image: L4." in " ".join(_words(_figure(axial, one_level(axial))).split())


def _wordy(ct):
    reasons = tuple(Reason(f"r{n}", f"reason {n} that takes its time to come to the point " * 3) for n in range(9))
    findings = (Reason("degenerated", "bridging osteophytes and sclerosis of both end plates, front and back"),) * 3
    levels = tuple(replace(level, usable=False, findings=findings) for level in measured(ct).levels[:3])
    left_out = tuple(SeriesLeftOut(f"1.2.840.{n}" * 4, "derived", "a derived image without true HU") for n in range(30))
    return replace(measured(ct), reasons=reasons, levels=(*levels, measured(ct).levels[3]), series_left_out=left_out)


def _result(ct, kind):
    if not kind.startswith("wordy"):
        return ALL[kind](ct)
    return replace(_wordy(ct), status="not_measured") if kind == "wordy_not_measured" else _wordy(ct)


@functools.cache
def _drawn(ct, kind, language):
    result = _result(ct, kind)
    return _figure(ct, result, language, whose_page(ct.sources[0], result))


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", [*ALL, "wordy", "wordy_not_measured"])
def test_text_is_large_enough_stays_in_its_place_and_covers_no_other(axial, kind, language):
    figure = _drawn(axial, kind, language)
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        # 9 pt are 12.5 px of 1280: 10 px where the page is shown 1024 px wide
        assert text.get_fontsize() >= 9, text.get_text()
        assert box.x0 >= 0, text.get_text()
        assert box.y0 >= -1, text.get_text()
        assert box.x1 <= 1280, text.get_text()
        assert box.y1 <= 1025, text.get_text()
        # names of ticks stand outside of their panel
        if text.axes is not None and text.axes.axison and text in text.axes.texts:
            panel = text.axes.get_window_extent(renderer).padded(1.0)
            assert box.x1 <= panel.x1, text.get_text()
            assert box.y1 <= panel.y1, text.get_text()
    for n, one in enumerate(boxes):
        for other, text in zip(boxes[:n], texts[:n], strict=True):
            apart = max(max(one.x0, other.x0) - min(one.x1, other.x1), max(one.y0, other.y0) - min(one.y1, other.y1))
            # the box of a line has some room above and below its letters
            assert apart > -2.5, (texts[n].get_text(), text.get_text())


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", ["wordy", "wordy_not_measured"])
def test_everything_is_said_however_much_it_is(axial, kind, language):
    result = _result(axial, kind)
    words = " ".join(_words(_drawn(axial, kind, language)).split()).lower()
    for level in result.levels:
        assert words.count(f"{level.level.name} {'excluded' if language is Language.EN else 'nicht gewertet'}:".lower()) == (
            not level.usable
        )
    assert words.count("bridging osteophytes and sclerosis of both end plates, front and back") == 9
    # a page that gives a result has the weightiest notes, and says that there are more; one that gives none has all reasons
    said = [n for n in range(9) if f"reason {n} that takes its time" in words]
    assert said == list(range(9 if kind == "wordy_not_measured" else 3))
    assert ("9 more notes" in words or "9 weitere hinweise" in words) == (kind == "wordy")
    assert ("30 se" in words) == (kind == "wordy_not_measured")


def test_what_no_page_can_hold_is_counted(axial):
    findings = tuple(Reason(f"r{n}", f"finding {n} of very many, each of them a long one") for n in range(200))
    levels = tuple(replace(level, findings=findings) for level in measured(axial).levels)
    words = " ".join(_words(_figure(axial, replace(measured(axial), levels=levels))).split())
    assert "finding 20 of very many" in words.lower()
    assert re.search(r"… and \d+ more lines: see the structured report", words)


def test_a_page_in_german(axial):
    words = " ".join(_words(_figure(axial, _in_german(axial), Language.DE)).split())
    for part in (
        "Bereich niedriger Knochenmasse", "97,1 mg/cm³", "Intervall 88 bis 106", "L2 bis L4", "keine Diagnose",
        "ohne Kontrastmittel", "BMD = 0,78 x HU", "Bereich der Osteoporose", "Schichten von 3,5 mm, dicker als 3 mm.",
        "L1 nicht gewertet: Keilfraktur, Grad 2: 31 % Höhenverlust im Vergleich mit den Nachbarn.",
        "Die einzige messbare Serie",
    ):  # fmt: skip
        assert part in words, part


def _in_german(ct):
    """A result whose sentences were made as the rooms make them."""
    loss = HeightLoss(FractureKind.WEDGE, 0.31, 2, phrase("compared with its neighbours"))
    result = measured(ct)
    fractured = replace(result.levels[0], usable=False, findings=(Reason("fracture", loss.said),))
    thick = Reason("thick_slices", phrase("slices of {thickness:g} mm, thicker than {limit:g} mm", thickness=3.5, limit=3.0))
    why = phrase("The only series that can be measured: {images}", images=phrase("original axial images"))
    levels = (fractured, *result.levels[1:])
    return replace(result, levels=levels, reasons=(thick,), why_this_series=why)


def test_excluded_levels_are_told_by_more_than_a_colour(axial):
    figure = _figure(axial, normal(axial))
    bars = [patch for patch in figure.findobj(Rectangle) if patch.axes is not None and patch in patch.axes.patches]
    assert [bool(bar.get_hatch()) for bar in bars] == [True, False, False, False, False]


def _seen_without(cone: str, rgb: np.ndarray) -> np.ndarray:
    """Lab colour (D65) as seen by a person without the cone for red (protan) or green (deutan); Viénot et al. 1999."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = {
        "protan": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
        "deutan": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
        "none": np.eye(3),
    }[cone]
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ (matrix @ linear)
    x, y, z = np.cbrt(np.clip(xyz, 1e-6, None) / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("cone", ["none", "protan", "deutan"])
def test_neighbouring_levels_are_told_apart_without_red_and_green(cone):
    seen = {level: _seen_without(cone, np.array(rgb) / 255) for level, rgb in LEVEL_RGB.items()}
    for level, other in zip(list(Level), list(Level)[1:], strict=False):
        assert np.linalg.norm(seen[level] - seen[other]) > 18, (level, other)


@pytest.mark.parametrize("make", [measured, one_level, not_measured])
def test_page_object_holds_the_page(axial, uids, make):
    result = make(axial)
    page = render_summary(axial.volume, *labels_of(axial, result), result)
    ds = build_summary_page(axial.sources, page, result, uids, CREATED)
    np.testing.assert_array_equal(ds.pixel_array, page)
    assert (ds.PhotometricInterpretation, ds.BurnedInAnnotation, ds.Modality) == ("RGB", "NO", "OT")
    assert (ds.Manufacturer, ds.ManufacturerModelName) == ("bmd-node project", "bmd-node")
    assert (ds.StudyInstanceUID, ds.SeriesInstanceUID) == (axial.volume.facts.study_instance_uid, uids.page_series)
    assert ("not measured" in ds.SeriesDescription) == (result.status == "not_measured")


def test_what_is_no_rgb_image_is_refused(axial, uids):
    with pytest.raises(ValueError, match="RGB"):
        build_summary_page(axial.sources, np.zeros((4, 4), np.uint8), measured(axial), uids, CREATED)


def test_a_fracture_leads_in_its_colour_and_the_bmd_follows(axial):
    result = with_fractures(normal(axial), (Level.T12, 1), (Level.L2, 3))
    figure = _figure(axial, result)
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    assert max(texts, key=Text.get_fontsize).get_text() == "Vertebral fractures: L2 grade 3 (severe), T12 grade 1 (mild)"
    words = " ".join(_words(figure).split())
    for part in ("Normal range (ACR, above 120 mg/cm³)", "167.7 mg/cm³", "T12: crush fracture, grade 1: 22 % height loss"):
        assert part in words, part
    # the colour of osteoporosis, whatever the BMD
    assert _accent(figure) == _accent(_figure(axial, _osteoporosis(axial))) != _accent(_figure(axial, normal(axial)))


def _accent(figure):
    (bar,) = [
        patch for patch in figure.findobj(Rectangle) if (patch.get_width(), patch.get_height()) == (12 / 1280, 122 / 1024)
    ]
    return bar.get_facecolor()


def _osteoporosis(ct):
    result = measured(ct)
    return replace(
        result, bmd=replace(result.bmd, bmd_mg_cm3=70.0, interval_mg_cm3=(62.0, 78.0), category=AcrCategory.OSTEOPOROSIS)
    )


@pytest.mark.parametrize(
    ("language", "words"), [(Language.EN, "Severe osteoporosis"), (Language.DE, "schweren Osteoporose")]
)
def test_a_fracture_with_osteoporosis_is_called_severe(axial, language, words):
    result = _osteoporosis(axial)
    assert words not in _words(_figure(axial, result, language))
    assert words in _words(_figure(axial, with_fractures(result, (Level.L3, 2)), language))


def test_a_fracture_leads_even_if_nothing_was_measured(axial):
    result = with_fractures(not_measured(axial), (Level.L3, 2))
    words = " ".join(_words(_figure(axial, result)).split())
    assert "Vertebral fracture L3, grade 2 (moderate)" in words
    assert "Not measured" in words
    assert "No conclusion about the bone is possible" not in words


def test_the_page_says_whose_it_is_and_can_leave_it_out(axial):
    result = replace(measured(axial), facts=replace(axial.volume.facts, patient_age_years=73.0))
    views, whose = take_views(axial.volume, axial.labels, axial.regions, result), whose_page(axial.sources[0], result)
    for language, line in (
        (Language.EN, "Müller, Jörg · ID 4711 · born 1950-12-31 · 73 years · male · study of 2024-01-02 · accession A1"),
        (
            Language.DE,
            "Müller, Jörg · ID 4711 · geb. 31.12.1950 · 73 Jahre · männlich · Untersuchung vom 02.01.2024 · Accession A1",
        ),
    ):
        assert line in " ".join(_words(page_figure(views, result, language, whose)).split())
    nameless = render_page(views, result)
    named = render_page(views, result, whose=whose)
    assert (named != nameless).any()
    np.testing.assert_array_equal(without_whose(named), nameless)


def test_a_page_without_a_name_says_so_and_a_name_is_shown_in_letters_that_the_page_has(axial):
    header, result = Dataset(), measured(axial)
    assert _words(_figure(axial, result, whose=whose_page(header, result))).count("name not stated  ·  no Patient ID") == 1
    header.SpecificCharacterSet, header.PatientName = "ISO_IR 192", "王^小东=Wang^XiaoDong"
    assert whose_page(header, result).name == "Wang, XiaoDong"


def test_three_notes_at_most_and_none_twice(axial):
    woman = replace(axial.volume.facts, patient_age_years=70.0, patient_sex="F")
    assert "post-menopausal" not in _notes(replace(measured(axial), facts=woman))
    assert "post-menopausal" in _notes(measured(axial))
    # both say that contrast makes the BMD read too high
    contrast = Reason(
        "contrast", phrase("not known whether contrast was given; if so, BMD is overestimated by an unknown amount")
    )
    result = replace(measured(axial), facts=replace(woman, contrast_phase=ContrastPhase.UNKNOWN), reasons=(contrast,))
    assert _notes(result).lower().count("contrast") == 1


def _notes(result):
    return " ".join(page_notes(result))


def test_names_that_rest_on_one_landmark_are_said(axial):
    evidence = phrase("counted from the last rib alone; no sacrum in view to check the count")
    bodies = tuple(replace(body, confidence=0.6, evidence=evidence) for body in measured(axial).bodies)
    assert "counted from the last rib alone" in _notes(replace(measured(axial), bodies=bodies))
