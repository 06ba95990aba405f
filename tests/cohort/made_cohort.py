"""A made cohort of 46 whose published figures are those of the study (Löffler et al., Front Endocrinol 2021;11:552719).

Nobody knows the 46 values of the study. These are others, computed so that means, standard deviations, counts, AUC with its
interval, and threshold come out as published; beside the 46 there are patients whom the flow chart has to leave out.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy import stats

from node.cohort.plan import Plan
from node.cohort.table import Cell, Table, table_of

#: Cases (C) and controls (K) by rising BMD. Of all 23 x 23 pairs the case is lower in 407 (AUC 0.769), and DeLong's interval
#: is that of the study. The best cut is after the fifteenth, and it is the only one.
ORDER = "CCCCCCCCCKKCCCCKKKKKCKCCKKKCCCCKKKKCKCCKKKKKKK"
#: BMD in mg/cm3 in this order, found by a solver (SLSQP): means and SD of cases, controls, women and men as published, 13
#: below 80, 13 above 120, the cut at 81.8.
BMD = (
    30.1, 33.0, 61.4, 61.6, 61.8, 69.2, 69.4, 69.6, 70.1, 70.3, 70.5, 70.7, 79.6, 80.2, 81.7, 81.9, 82.1, 82.3, 87.4, 87.6,
    87.8, 88.0, 105.8, 106.0, 110.8, 111.0, 115.3, 115.5, 115.7, 115.9, 116.1, 116.3, 119.8, 120.3, 129.2, 129.4, 129.6,
    129.8, 130.0, 151.6, 151.8, 159.3, 159.5, 164.7, 164.9, 165.1,
)  # fmt: skip
CONSTRUCTS = ("L1-L5", *["L2-L5"] * 8, *["L2-S1"] * 4, *["L3-S1"] * 9, "L4-S1")
#: Sex of the 23 constructs above, the same in both groups.
SEXES = "FFFFFFMMMFFFMFFFFFMMMMM"

PLAN = {
    "title": "Screw loosening after semi-rigid instrumentation",
    "outcomes": {"column": "loosening"},
    "exclusions": [{"reason": "other scanner", "column": "model", "keep": ["Brilliance 64"]}],
    "matching": {"exact": ["outcomes.sex", "construct"], "within": {"age": 12.0}, "seed": 7},
    "tables": {
        "numbers": ["age", "bmi", "follow_up_months"],
        "counts": ["outcomes.sex", "construct"],
        "value_by": ["outcomes.sex"],
    },
    "roc": {"resamples": 200, "seed": 3},
    "model": {"covariates": ["age", "outcomes.sex", "bmi"]},
    "methods": [{"name": "QCT", "column": "qct"}],
    "repeats": {"subject": "patient_id"},
}


def plan(**changes: object) -> Plan:
    """The plan of the study; a change of ``None`` leaves a section out."""
    return Plan.model_validate({name: part for name, part in {**PLAN, **changes}.items() if part is not None})


def _is_woman(is_case: np.ndarray) -> np.ndarray:
    """Which of the order are women: chosen so that the published means of women and men are possible."""
    women = np.zeros(len(is_case), dtype=bool)
    for who in (np.flatnonzero(is_case), np.flatnonzero(~is_case)):
        men = {2, 5, 8, 10, 12, 14, 16, 18, 20}
        women[[index for place, index in enumerate(who) if place not in men]] = True
    return women


@functools.cache
def patients() -> tuple[dict[str, Cell], ...]:
    """The 46 patients with all that is known of them."""
    is_case = np.array([letter == "C" for letter in ORDER])
    is_woman = _is_woman(is_case)
    normal = stats.norm.ppf((np.arange(23) + 0.5) / 23)
    normal = (normal - normal.mean()) / normal.std(ddof=1)
    made: list[dict[str, Cell]] = []
    for group, age_mean, age_sd in ((True, 68.5, 8.1), (False, 71.4, 10.0)):
        who = np.flatnonzero(is_case == group)
        ages = age_mean + age_sd * normal
        # the constructs of the controls are dealt in another order, or pairs would have nearly the same BMD
        places = {sex: [n for n, s in enumerate(SEXES) if s == sex] for sex in "FM"}
        if not group:
            places = {sex: found[5:] + found[:5] for sex, found in places.items()}
        for n, index in enumerate(who):
            sex = "F" if is_woman[index] else "M"
            place = places[sex].pop(0)
            value = BMD[index]
            # the age goes with the place among the constructs, which both groups share: so there are pairs of all
            made.append(
                {
                    "accession_number": f"A{index:03d}",
                    "loosening": "yes" if group else "no",
                    "sex": sex,
                    "age": round(float(ages[place * 7 % 23]), 1),
                    "construct": CONSTRUCTS[place],
                    "bmi": round(27.0 + 4.0 * float(normal[n * 5 % 23]), 1),
                    "follow_up_months": float(24 + index % 13),
                    "bmd": value,
                    "qct": round(4.0 + 1.06 * value + 5.0 * float(np.sin(3.7 * index)), 1),
                }
            )
    return tuple(made)


def outcomes() -> Table:
    """The 46; six from another scanner, three without a CT, two without an outcome, two that were not measured."""
    columns = ("accession_number", "loosening", "sex", "age", "construct", "bmi", "follow_up_months", "qct")
    rows = [{column: patient[column] for column in columns} for patient in patients()]
    for n in range(13):
        extra = dict(rows[n]) | {"accession_number": f"X{n:03d}"}
        rows.append(extra | ({"loosening": "lost"} if n in (9, 10) else {}))
    return table_of("outcomes.csv", rows)


def results() -> Table:
    """What the node knows: the 46, six from another scanner, two that were not measured, and repeat scans of three."""
    rows = [_study(str(p["accession_number"]), float(str(p["bmd"]))) for p in patients()]
    rows += [_study(f"X{n:03d}", 90.0 + n) | {"model": "Ingenuity"} for n in range(6)]
    rows += [_study(f"X{n:03d}", 90.0 + n) for n in (9, 10)]
    rows += [_study(f"X{n:03d}", None) for n in (11, 12)]
    for n, values in enumerate(((101.2, 98.7), (77.0, 80.1, 78.8), (131.4, 130.0), (64.2, 69.9), (88.0, 86.5, 90.2, 87.7))):
        for k, value in enumerate(values):
            rows.append(_study(f"R{n}{k}", value) | {"patient_id": f"twice-{n}", "study_date": f"2020-01-{k + 1:02d}"})
    return table_of("studies.csv", rows)


def category_of(bmd_mg_cm3: float) -> str:
    """ACR."""
    return "osteoporosis" if bmd_mg_cm3 < 80 else "low_bone_mass" if bmd_mg_cm3 <= 120 else "normal"


def _study(accession: str, bmd: float | None) -> dict[str, Cell]:
    return {
        "accession_number": accession,
        "patient_id": f"P-{accession}",
        "study_date": "2020-02-01",
        "status": "not_measured" if bmd is None else "measured",
        "model": "Brilliance 64",
        "sex": None,
        "bmd_mg_cm3": bmd,
        "category": None if bmd is None else category_of(bmd),
    }
