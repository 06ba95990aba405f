"""The result as a short table for the terminal."""

from __future__ import annotations

from node.model import LevelMeasurement, StudyResult
from node.model.rounding import finite, rounded, text
from node.report.context import context_of
from node.report.wording import all_reasons, caveats, conclusion, findings_text, level_bmd, scanner_text

_HEAD = ("level", "HU", "SD", "mm3", "mg/cm3", "used", "findings")


def table(result: StudyResult) -> str:
    """Conclusion, levels, reasons and excluded series; plain text, no trailing newline."""
    lines: list[str] = [conclusion(result)]
    if result.facts is not None:
        lines.append(scanner_text(result.facts))
    if result.levels:
        rows = [_HEAD, *(_row(level, result) for level in result.levels)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        lines.append("")
        lines += [_aligned(row, widths) for row in rows]
    notes: list[str] = [f"{r.detail} [{r.code}]" for r in all_reasons(result)]
    notes += context_of(result)
    notes += caveats(result)
    notes += [f"series {s.series_instance_uid} excluded: {s.detail} [{s.code}]" for s in result.series_left_out]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines)


def _row(level: LevelMeasurement, result: StudyResult) -> tuple[str, ...]:
    hu, sd, bmd = finite(level.hu_mean), finite(level.hu_sd), level_bmd(result.bmd, level.level)
    return (
        level.level.name,
        "-" if hu is None else text(rounded(hu)),
        "-" if sd is None else text(rounded(sd)),
        f"{level.roi_volume_mm3:.0f}",
        "-" if bmd is None else text(bmd),
        "yes" if level.usable else "no",
        findings_text(level),
    )


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    first, *numbers, findings = row
    cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True))]
    return "  ".join([*cells, findings]).rstrip()
