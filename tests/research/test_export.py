"""``bmd-node export``: every study once, in three formats, in clear and pseudonymised."""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from node.cli.main import main
from node.common.errors import ConfigurationError
from node.records.runs import WITHDRAWN, RunRecords, RunState
from node.report import LEVEL_COLUMNS, STUDY_COLUMNS, Pseudonym, StudyRow, WrittenHeader, result_json
from node.research.export import tables_of
from node.research.pseudonyms import Pseudonyms, read_or_make_key
from node.research.read_tables import read_table
from node.settings.tree import Settings
from node.study.objects import wanted_kinds
from tests.alerts.alert_inputs import result
from tests.deliver.built_results import write_result
from tests.report.conftest import measured, synthetic_ct

#: What nobody may find in a pseudonymised table: of the header that is written below.
SECRETS = (
    "4711",
    "A1",
    "KIS",
    "Müller",
    "19501231",
    "2.25.1001",
    "2.25.1002",
    "20240102",
    "2024-01-02",
    "CT-ROOM-3",
    "SN-77",
)


def site(folder: Path) -> Path:
    """A node with a measured study, one that was not, one that failed, one withdrawn, and one that is still waiting."""
    settings = Settings(state_dir=folder / "state")
    records = RunRecords.open(settings)
    ct = synthetic_ct("axial")
    for source in ct.sources:
        source.IssuerOfPatientID, source.PatientAge = "KIS", "073Y"
        source.PatientSize, source.PatientWeight = 1.71, 68.5
        source.StationName, source.DeviceSerialNumber = "CT-ROOM-3", "SN-77"
    (folder / "new").mkdir()
    write_result(folder / "new", ct=ct, kinds=wanted_kinds([]))
    (folder / "new" / "result.json").write_text(result_json(measured(ct)))
    for run_id in ("old", "new"):
        records.queued(run_id, "2.25.1001", folder / run_id)
        records.finished(run_id, RunState.MEASURED, "")
    records.replaced("old")
    # its second measurement crashed: the first one stands
    records.queued("crashed", "2.25.1001", folder / "crashed")
    records.finished("crashed", RunState.FAILED, "the process ended")
    (folder / "not").mkdir()
    (folder / "not" / "result.json").write_text(result_json(result(90.0, status="not_measured", study="2.25.2")))
    for run_id, uid, state, detail in (
        ("not", "2.25.2", RunState.NOT_MEASURED, ""),
        ("failed", "2.25.3", RunState.FAILED, "a file of Müller is damaged"),
        ("left", "2.25.4", RunState.MEASURED, WITHDRAWN),
        ("gone", "2.25.5", RunState.MEASURED, ""),
    ):
        records.queued(run_id, uid, folder / run_id)
        records.finished(run_id, state, detail)
    records.queued("waiting", "2.25.6", folder / "waiting")
    config = folder / "bmd-node.toml"
    config.write_text(f'state_dir = "{settings.state_dir}"\n')
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site(tmp_path_factory.mktemp("site"))


def export(config: Path, out: Path, *more: str) -> Result:
    today = dt.datetime.now().astimezone().date().isoformat()
    return CliRunner().invoke(main, ["export", "--config", str(config), "--since", today, "--out", str(out), *more])


def rows(path: Path) -> Sequence[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_study_once_with_the_result_that_stands(config: Path, tmp_path: Path) -> None:
    done = export(config, tmp_path)
    assert done.exit_code == 0, done.output
    assert "5 studies, 1 of them measured; 8 levels" in done.stdout
    assert "patient data in clear" in done.stderr
    found = {row["study_instance_uid"]: row for row in rows(tmp_path / "studies.csv")}
    assert {uid: row["status"] for uid, row in found.items()} == {
        "2.25.1001": "measured",
        "2.25.2": "not_measured",
        "2.25.3": "failed",
        "2.25.4": "withdrawn",
        "2.25.5": "failed",
    }
    one = found["2.25.1001"]
    written = json.loads((config.parent / "new" / "result.json").read_text())
    expected = {
        "accession_number": "A1",
        "patient_id": "4711",
        "issuer_of_patient_id": "KIS",
        "age_years": "73",
        "sex": "M",
        "height_m": "1.71",
        "weight_kg": "68.5",
        "bmi_kg_m2": "23.4",
        "study_date": "2024-01-02",
        "manufacturer": "Philips",
        "scanner_model": "Brilliance 64",
        "station_name": "CT-ROOM-3",
        "device_serial_number": "SN-77",
        "bmd_mg_cm3": str(written["bmd_mg_cm3"]),
        "bmd_from_mg_cm3": str(written["bmd_interval_mg_cm3"][0]),
        "bmd_to_mg_cm3": str(written["bmd_interval_mg_cm3"][1]),
        "category": written["category"],
        "levels_used": " ".join(level["level"] for level in written["levels"] if level["usable"]),
        "calibration": written["calibration"]["id"],
        "in_conflict": "no",
    }
    assert {name: one[name] for name in expected} == expected
    # a result that does not stand has no values
    for uid in ("2.25.3", "2.25.4", "2.25.5"):
        assert (found[uid]["bmd_mg_cm3"], found[uid]["hu_mean"], found[uid]["category"]) == ("", "", "")
        assert found[uid]["error"]
    levels = rows(tmp_path / "levels.csv")
    assert [row["level"] for row in levels if row["study_instance_uid"] == "2.25.1001"] == ["L1", "L2", "L3", "L4"]


def test_only_of_some_days(config: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["export", "--config", str(config), "--since", "2020-01-01", "--until", "2020-12-31", "--out", str(tmp_path)]
    )
    assert "0 studies" in done.stdout
    assert rows(tmp_path / "studies.csv") == []


def test_the_three_formats_say_the_same(config: Path, tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    parquet = pytest.importorskip("pyarrow.parquet")
    for form in ("csv", "parquet", "xlsx"):
        assert export(config, tmp_path / form, "--format", form).exit_code == 0
    # an empty column of a workbook and one of a Parquet file are both nothing
    plain = read_table(tmp_path / "csv" / "studies.csv")
    for form in ("parquet", "xlsx"):
        other = read_table(tmp_path / form / f"studies.{form}")
        assert other.columns == plain.columns
        for name in ("study_instance_uid", "accession_number", "study_date", "status"):
            assert other.texts(name) == plain.texts(name), (form, name)
        for name in ("bmd_mg_cm3", "age_years", "kvp"):
            numbers = [[float(t) if t else None for t in table.texts(name)] for table in (other, plain)]
            assert numbers[0] == numbers[1], (form, name)
    types = parquet.read_schema(tmp_path / "parquet" / "studies.parquet")
    assert [str(types.field(name).type) for name in ("study_date", "bmd_mg_cm3", "in_conflict", "accession_number")] == [
        "date32[day]",
        "double",
        "bool",
        "string",
    ]


def test_pseudonymised(config: Path, tmp_path: Path) -> None:
    key, links = tmp_path / "key", tmp_path / "links"
    arguments = ("--pseudonymise", "--key", str(key))
    first = export(config, tmp_path / "a", *arguments, "--links", str(links))
    assert first.exit_code == 0, first.output
    assert "is new. Keep it" in first.stderr
    assert key.stat().st_mode & 0o777 == 0o600
    text = "".join((tmp_path / "a" / name).read_text() for name in ("studies.csv", "levels.csv"))
    cells = set(re.split(r"[,\n]", text))
    assert not [secret for secret in SECRETS if secret in cells or (len(secret) > 4 and secret in text)]
    (row,) = [row for row in rows(tmp_path / "a" / "studies.csv") if row["status"] == "measured"]
    assert (row["reasons_text"], row["error"], row["issuer_of_patient_id"]) == ("", "", "")
    assert re.fullmatch("[0-9a-f]{20}", row["patient_id"])
    days = (dt.date(2024, 1, 2) - dt.date.fromisoformat(row["study_date"])).days
    assert 1 <= days <= 365
    levels = {one["study_instance_uid"] for one in rows(tmp_path / "a" / "levels.csv")}
    assert row["study_instance_uid"] in levels
    (link,) = [one for one in rows(links / "links.csv") if one["accession_number"] == "A1"]
    assert (link["pseudonym_of_accession_number"], link["pseudonym_of_patient_id"]) == (
        row["accession_number"],
        row["patient_id"],
    )
    # the same key gives the same pseudonyms, another one gives others
    export(config, tmp_path / "b", *arguments)
    assert (tmp_path / "b" / "studies.csv").read_text() == (tmp_path / "a" / "studies.csv").read_text()
    export(config, tmp_path / "c", "--pseudonymise", "--key", str(tmp_path / "other"))
    hashed = {row["accession_number"] for row in rows(tmp_path / "c" / "studies.csv")} - {""}
    assert hashed
    assert row["accession_number"] not in hashed


def row_of(patient: str, day: dt.date, uid: str = "1", issuer: str = "", age: int = 70) -> StudyRow:
    header = WrittenHeader(patient_id=patient, issuer_of_patient_id=issuer, age_years=age, study_date=day)
    return StudyRow("", uid, None, header, "measured", measured_on=day)


def cell(row: StudyRow, name: str, key: bytes = b"k" * 32) -> object:
    studies, _ = tables_of([row], Pseudonyms(key))
    return studies.rows[0][studies.columns.index(name)]


def test_dates_of_a_patient_move_together() -> None:
    early, late = row_of("P", dt.date(2020, 1, 1), "1"), row_of("P", dt.date(2021, 3, 5), "2")
    dates = [cell(row, "study_date") for row in (early, late)]
    assert all(isinstance(date, dt.date) for date in dates)
    assert dates[1] - dates[0] == dt.date(2021, 3, 5) - dt.date(2020, 1, 1)  # type: ignore[operator]
    moved = {cell(row_of(f"P{n}", dt.date(2020, 1, 1)), "study_date") for n in range(50)}
    assert len(moved) > 30
    assert dt.date(2020, 1, 1) not in moved
    # without a Patient ID each study stands alone
    alone = {cell(row_of("", dt.date(2020, 1, 1), str(n)), "study_date") for n in range(50)}
    assert len(alone) > 30


def test_a_number_of_two_issuers_is_two_patients_and_high_ages_are_one() -> None:
    day = dt.date(2020, 1, 1)
    assert cell(row_of("1", day, issuer="A"), "patient_id") != cell(row_of("1", day, issuer="B"), "patient_id")
    assert [cell(row_of("1", day, age=age), "age_years") for age in (89, 90, 97)] == [89, 90, 90]


def test_the_dictionary_has_every_column(config: Path, tmp_path: Path) -> None:
    export(config, tmp_path, "--format", "csv")
    found = rows(tmp_path / "dictionary.csv")
    for table, columns in (("studies", STUDY_COLUMNS), ("levels", LEVEL_COLUMNS)):
        names = [row["column"] for row in found if row["table"] == table]
        assert names == [column.name for column in columns]
        assert names == list(rows(tmp_path / f"{table}.csv")[0])
    assert all(row["meaning"] for row in found)
    # text of people is never kept, and whoever adds a column decides
    told = {column.name: column.pseudonym for column in STUDY_COLUMNS}
    assert {name for name, how in told.items() if how is Pseudonym.DROPPED} == {
        "issuer_of_patient_id",
        "reasons_text",
        "error",
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--pseudonymise"], "go together"),
        (["--key", "k"], "go together"),
        (["--links", "l"], "is for --pseudonymise"),
        (["--pseudonymise", "--key", "OUT/key"], "must not be inside of --out"),
        (["--pseudonymise", "--key", "k", "--links", "OUT"], "must not be inside of --out"),
    ],
)
def test_wrong_use(config: Path, tmp_path: Path, more: list[str], message: str) -> None:
    done = export(config, tmp_path / "out", *(word.replace("OUT", str(tmp_path / "out")) for word in more))
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_key_that_is_none(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("secret")
    short.chmod(0o644)
    with pytest.raises(ConfigurationError, match="others can use the key"):
        read_or_make_key(short)
    short.chmod(0o600)
    with pytest.raises(ConfigurationError, match="it needs 32"):
        read_or_make_key(short)
    with pytest.raises(ConfigurationError, match="cannot be read or created"):
        read_or_make_key(tmp_path / "nowhere" / "key")


def test_text_of_a_workbook_is_no_formula(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    from node.research.write_tables import Format, write_tables

    tables = tables_of([row_of("=1+1", dt.date(2020, 1, 1))], None)
    (path, _) = write_tables(tables, Format.XLSX, tmp_path)
    sheet = openpyxl.load_workbook(path).worksheets[0]
    place = [cell.value for cell in sheet[1]].index("patient_id")
    assert (sheet[2][place].value, sheet[2][place].data_type) == ("=1+1", "s")
