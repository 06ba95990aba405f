"""What is older than the settings want to keep is listed, and goes; what is younger, or has not ended, stays."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from pydantic import ValidationError

from node.cli.main import main
from node.receive.index import Ending, InstanceIndex
from node.records.database import metadata, open_database
from node.records.runs import RunRecords, RunState
from node.records.work import WorkRecords, WorkState
from node.settings.retention import RetentionSettings
from node.worker.housekeeping import Housekeeping
from tests.alerts.conftest import database_url, postgres_url
from tests.study.erasure_site import MINE, OTHER, Site, traces

__all__ = ["database_url", "postgres_url"]


def age(site: Site, days: float) -> None:
    """Let everything that is recorded be older by some days."""
    with open_database(site.settings).begin() as connection:
        for table in metadata.sorted_tables:
            times = [one for one in table.columns if one.name.endswith("_s") and isinstance(one.type, sa.Float)]
            if times:
                connection.execute(sa.update(table).values({one.name: one - days * 86_400.0 for one in times}))


def finish_work(site: Site) -> None:
    work = WorkRecords.open(site.settings)
    for one in work.in_state(WorkState.WAITING):
        work.finished(one.work_id)


def listed(site: Site) -> str:
    done = CliRunner().invoke(main, ["retention", "--config", str(site.config)])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_each_setting_is_listed_and_enforced(tmp_path: Path, database_url: str | None) -> None:
    site = Site(tmp_path, database_url)
    index = InstanceIndex.open(site.settings)
    for number in range(2):
        index.open_association(f"old-{number}", "CT1")
        index.end_association(f"old-{number}", Ending.RELEASED)
    old, unfinished = site.study(MINE), site.study(OTHER)
    finish_work(site)
    RunRecords.open(site.settings).finished(unfinished.run_id, RunState.RUNNING, "")
    house = Housekeeping(site.settings)
    now = dt.datetime.now(dt.UTC)
    assert "0 received images" in listed(site)
    house.do(now)
    assert old.folder.is_dir()

    age(site, 100)
    said = listed(site)
    assert "4 received images (study.keep_days = 7)" in said
    assert "0 folders of results" in said
    assert "6 pieces of finished work (retention.workflows_days = 30)" in said
    assert "0 ended associations" in said
    house.do(now)
    assert list((site.folder / "state" / "received").rglob("*.dcm")) == []
    assert old.folder.is_dir()

    age(site, 4000)
    said = listed(site)
    assert f"results of run {old.run_id}" in said
    assert f"records of study {old.uid}" in said
    assert "1 ended associations (retention.associations_days = 365)" in said
    assert unfinished.uid not in said, "it has not ended"
    house.do(now)
    assert not old.folder.exists()
    left = traces(site, old.uid)
    assert [line.split()[0] for line in left] == ["scans"], "the trend of the scanner begins with its first scans"
    assert unfinished.folder.is_dir()
    assert RunRecords.open(site.settings).run(unfinished.run_id) is not None
    assert "1 folders" not in listed(site)


def test_records_are_not_kept_shorter_than_what_they_lead_to() -> None:
    with pytest.raises(ValidationError, match="runs_days is shorter"):
        RetentionSettings(results_days=100, runs_days=50)
