"""Join outcomes and results, apply the exclusions, and count who is left after each step."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from node.cohort.matching import Matching, match
from node.cohort.plan import Exclusion, MatchingPlan, Plan
from node.cohort.table import Cell, Table, as_text, date_of_cell, is_same, numbers
from node.common.errors import InputError

_RESULTS, _OUTCOMES = "results.", "outcomes."


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the flow chart.

    Attributes:
        reason: why patients leave.
        n: how many do.
    """

    reason: str
    n: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A patient who left, by the key of the tables. The key may identify the patient: it stays in the file of the user."""

    key: str
    reason: str
    group: str


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient of the analysis.

    Attributes:
        key: joins the tables.
        is_case: the outcome; ``False`` if none is asked for.
        value: the measured value under test.
        row: index in the joined table.
    """

    key: str = field(repr=False)
    is_case: bool
    value: float
    row: int


@dataclass(frozen=True, slots=True)
class Cohort:
    """Patients of the analysis, and who left on the way.

    Attributes:
        n_outcomes: rows in the table of outcomes.
        n_results_without_outcome: studies that no row of outcomes names.
        steps: in order; ``n_outcomes`` minus their sum is the number of eligible patients.
        eligible: after the exclusions.
        matching: indices into ``eligible``; ``None`` without matching.
        patients: those that are analysed, pairs in the order of the matching.
        joined: outcomes and results side by side.
    """

    n_outcomes: int
    n_results_without_outcome: int
    steps: tuple[Step, ...]
    left_out: tuple[LeftOut, ...]
    eligible: tuple[Patient, ...]
    matching: Matching | None
    patients: tuple[Patient, ...]
    joined: Table

    def column(self, name: str) -> tuple[Cell, ...]:
        """Entries of the analysed patients.

        Raises:
            InputError: there is no such column, or both tables have it.
        """
        cells = column_of(self.joined, name)
        return tuple(cells[patient.row] for patient in self.patients)


def column_of(joined: Table, name: str) -> tuple[Cell, ...]:
    """A column of the joined table, under its own name or as ``results.NAME`` or ``outcomes.NAME``.

    Raises:
        InputError: there is no such column, or both tables have it.
    """
    if name in joined.columns:
        return joined.cells(name)
    found = [prefix + name for prefix in (_OUTCOMES, _RESULTS) if prefix + name in joined.columns]
    if len(found) == 2:
        raise InputError(f"both tables have a column {name}: write {found[0]} or {found[1]} in the plan")
    if not found:
        known = sorted({column.partition(".")[2] for column in joined.columns})
        raise InputError(f"neither table has a column {name}; there are {', '.join(known)}")
    return joined.cells(found[0])


def assemble(outcomes: Table, results: Table, plan: Plan) -> Cohort:
    """Build the cohort.

    Raises:
        InputError: a column is missing, a key appears twice in the outcomes, or a number is none.
    """
    keys = _keys_of_outcomes(outcomes, plan.outcomes.key)
    studies = _studies(results, plan)
    columns = tuple(_OUTCOMES + c for c in outcomes.columns) + tuple(_RESULTS + c for c in results.columns)
    nothing = (None,) * len(results.columns)
    chosen = [_chosen(studies.get(key, []), results, plan) for key in keys]
    rows = tuple(
        own + (nothing if study is None else results.rows[study]) for own, study in zip(outcomes.rows, chosen, strict=True)
    )
    joined = Table("the joined table", columns, rows)
    groups = _groups(outcomes, plan)
    values = numbers(joined.cells(_RESULTS + plan.results.value), plan.results.value)
    status = joined.texts(_RESULTS + "status") if "status" in results.columns else ("measured",) * len(rows)

    steps: list[Step] = []
    left_out: list[LeftOut] = []
    left = list(range(len(rows)))

    def leave(reason: str, leaves: Callable[[int], bool]) -> None:
        nonlocal left
        gone = [row for row in left if leaves(row)]
        steps.append(Step(reason, len(gone)))
        left_out.extend(LeftOut(keys[row], reason, groups[row]) for row in gone)
        left = [row for row in left if not leaves(row)]

    if plan.outcomes.column:
        leave("outcome missing, or neither case nor control", lambda row: groups[row] == "")
    leave("no study with this key", lambda row: not studies.get(keys[row]))
    leave("several studies with this key", lambda row: chosen[row] is None)
    leave("not measured", lambda row: status[row] != "measured")
    leave(f"measured, without {plan.results.value}", lambda row: values[row] is None)
    for rule in plan.exclusions:
        leave(rule.reason, _rule(rule, column_of(joined, rule.column)).__getitem__)

    found = [(row, values[row]) for row in left]
    eligible = tuple(Patient(keys[row], groups[row] == "case", v, row) for row, v in found if v is not None)
    matching = None if plan.matching is None or not plan.outcomes.column else _match(eligible, joined, plan.matching)
    patients = eligible
    if matching is not None:
        patients = tuple(eligible[i] for m in matching.matches for i in (m.case, *m.controls))
        for unmatched, group in ((matching.unmatched_cases, "case"), (matching.unmatched_controls, "control")):
            left_out += [LeftOut(eligible[i].key, f"{group} without a match", group) for i in unmatched]
    n_unknown = len({row for key in studies.keys() - set(keys) for row in studies[key]})
    return Cohort(len(rows), n_unknown, tuple(steps), tuple(left_out), eligible, matching, patients, joined)


def study_rows(results: Table) -> Table:
    """The results alone as a joined table, for repeats without outcomes."""
    return Table(results.name, tuple(_RESULTS + column for column in results.columns), results.rows)


def _keys_of_outcomes(outcomes: Table, column: str) -> tuple[str, ...]:
    keys = outcomes.texts(column)
    if "" in keys:
        raise InputError(f"{outcomes.name}: entry {keys.index('') + 1} of column {column} is empty: every row needs its key")
    twice = [key for key, n in Counter(keys).items() if n > 1]
    if twice:
        entries = [str(n) for n, key in enumerate(keys, start=1) if key == twice[0]]
        raise InputError(
            f"{outcomes.name}: entries {', '.join(entries)} of column {column} are the same: a patient counts once, so "
            f"merge these rows"
        )
    return keys


def _studies(results: Table, plan: Plan) -> dict[str, list[int]]:
    results.cells(plan.results.value)
    found: dict[str, list[int]] = {}
    for row, key in enumerate(results.texts(plan.results.key)):
        if key:
            found.setdefault(key, []).append(row)
    return found


def _chosen(rows: Sequence[int], results: Table, plan: Plan) -> int | None:
    """The study of a key; ``None`` if there is none, or several and no rule."""
    if len(rows) == 1:
        return rows[0]
    if not rows or plan.results.several == "exclude":
        return None
    dates = results.cells("study_date")
    dated = sorted((date, row) for row in rows if (date := date_of_cell(dates[row])) is not None)
    if len(dated) < len(rows):
        return None  # which one is first is not known
    same_day = [date for date, _ in dated].count(dated[0 if plan.results.several == "first" else -1][0]) > 1
    if same_day:
        return None
    return dated[0][1] if plan.results.several == "first" else dated[-1][1]


def _groups(outcomes: Table, plan: Plan) -> tuple[str, ...]:
    if not plan.outcomes.column:
        return ("",) * len(outcomes.rows)

    def group(cell: Cell) -> str:
        if any(is_same(cell, word) for word in plan.outcomes.cases):
            return "case"
        return "control" if any(is_same(cell, word) for word in plan.outcomes.controls) else ""

    return tuple(group(cell) for cell in outcomes.cells(plan.outcomes.column))


def _rule(rule: Exclusion, cells: Iterable[Cell]) -> tuple[bool, ...]:
    """Whether each row is excluded."""
    if rule.keep is not None or rule.drop is not None:
        words = rule.keep if rule.keep is not None else rule.drop or ()
        return tuple(any(is_same(cell, word) for word in words) == (rule.keep is None) for cell in cells)
    if rule.missing:
        return tuple(not as_text(cell) for cell in cells)

    def outside(value: float | None) -> bool:
        if value is None:
            return True
        return (rule.below is not None and value < rule.below) or (rule.above is not None and value > rule.above)

    return tuple(outside(value) for value in numbers(cells, rule.column))


def _match(eligible: Sequence[Patient], joined: Table, plan: MatchingPlan) -> Matching:
    def of(name: str) -> tuple[Cell, ...]:
        cells = column_of(joined, name)
        return tuple(cells[patient.row] for patient in eligible)

    exact = {name: of(name) for name in plan.exact}
    within = {name: (numbers(of(name), name), limit) for name, limit in plan.within.items()}
    return match([patient.is_case for patient in eligible], exact, within, plan.controls_per_case, plan.seed)


def values_of_subjects(
    results: Table, subject: str, same: Sequence[str], value: str, max_days: float | None
) -> dict[tuple[str, ...], tuple[float, ...]]:
    """Values of each subject, under each set of conditions, in the order of the studies.

    Args:
        results: one row per study.
        subject: column that names the subject; rows without one do not count.
        same: columns of the conditions.
        value: column of the values; rows without one do not count.
        max_days: of a subject, only studies at most this long after the first.

    Raises:
        InputError: a column is missing, or a number is none.
    """
    found: dict[tuple[str, ...], list[tuple[dt.date | None, float]]] = {}
    dates = results.cells("study_date") if "study_date" in results.columns else (None,) * len(results.rows)
    keys = zip(*(results.texts(column) for column in (subject, *same)), strict=True)
    for key, number, date in zip(keys, numbers(results.cells(value), value), dates, strict=True):
        if key[0] and number is not None:
            found.setdefault(key, []).append((date_of_cell(date), number))
    return {key: _near(studies, max_days) for key, studies in found.items()}


def _near(studies: Sequence[tuple[dt.date | None, float]], max_days: float | None) -> tuple[float, ...]:
    dated = [(date, value) for date, value in studies if date is not None]
    if len(dated) < len(studies):
        # without dates the order is that of the table, and nothing is known about the time between
        return tuple(value for _, value in studies) if max_days is None else ()
    dated.sort(key=lambda study: study[0])
    first = dated[0][0]
    return tuple(value for date, value in dated if max_days is None or (date - first).days <= max_days)


def pairs_of(joined: Table, first: str, second: str) -> tuple[tuple[float, float], ...]:
    """Pairs of numbers of two columns, where both have one.

    Raises:
        InputError: a column is missing, or a number is none.
    """
    columns = (numbers(column_of(joined, name), name) for name in (first, second))
    return tuple((a, b) for a, b in zip(*columns, strict=True) if a is not None and b is not None)
