"""The patients that a result is compared with: of the same sex and age, unenhanced, at the same tube voltage."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

from node.model import ContrastPhase, Level
from node.records.prior_results import DatedResult, LevelValue, PriorRecords
from node.settings.tree import Settings
from node.study.priors import LEAST_OTHERS, rank_among

WOMAN = DatedResult(
    "1.2.3",
    dt.date(2026, 1, 2),
    "Philips",
    "Brilliance 64",
    "7001",
    None,
    120.0,
    "B",
    ContrastPhase.NONE,
    (LevelValue(Level.L1, 100.0, None), LevelValue(Level.L2, 90.0, None)),
    None,
    70.0,
    "F",
)


def _with_l1(hu: float) -> DatedResult:
    return replace(WOMAN, levels=(LevelValue(Level.L1, hu, None),))


def test_who_is_similar(tmp_path: Path) -> None:
    priors = PriorRecords.open(Settings(state_dir=tmp_path))
    kept = {
        "similar": _with_l1(101.0),
        "younger": replace(_with_l1(102.0), patient_age_years=65.0),
        "too young": replace(_with_l1(103.0), patient_age_years=64.9),
        "man": replace(_with_l1(104.0), patient_sex="M"),
        "contrast": replace(_with_l1(105.0), contrast_phase=ContrastPhase.PORTAL_VENOUS),
        "100 kVp": replace(_with_l1(106.0), kvp=100.0),
        "no L1": replace(WOMAN, levels=(LevelValue(Level.L2, 107.0, None),)),
        "of 0.1.0": replace(_with_l1(108.0), patient_age_years=None, patient_sex=None),
        "withdrawn": replace(_with_l1(109.0), study_instance_uid="1.2.9"),
        "herself": WOMAN,
    }
    for patient, result in kept.items():
        priors.keep(f"run {patient}", patient, result)
    priors.keep("a later run", "similar", replace(_with_l1(111.0), study_instance_uid="1.2.4"))
    priors.withdraw("1.2.9", None)
    assert sorted(priors.similar_patients(WOMAN, "herself")) == [102.0, 111.0]
    for other in (replace(WOMAN, patient_sex="O"), replace(WOMAN, patient_age_years=None), replace(WOMAN, kvp=None)):
        assert priors.similar_patients(other, "herself") == ()
    assert priors.similar_patients(replace(WOMAN, contrast_phase=ContrastPhase.ARTERIAL), "herself") == ()


def test_the_percentile_needs_enough_others() -> None:
    others = [float(hu) for hu in range(LEAST_OTHERS)]
    assert rank_among(WOMAN, others[1:]) is None
    rank = rank_among(_with_l1(50.0), others)
    assert rank is not None
    assert (rank.percentile, rank.n_patients, rank.kvp) == (25, LEAST_OTHERS, 120.0)
    assert [rank_among(_with_l1(hu), others).percentile for hu in (-50.0, 500.0)] == [1, 99]  # type: ignore[union-attr]
    assert rank_among(replace(WOMAN, levels=(LevelValue(Level.L2, 90.0, None),)), others) is None
