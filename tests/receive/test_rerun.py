"""A person has a study measured again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.main import main
from node.receive import QuietReason, ReceivedStudies, import_folder
from node.settings.tree import load_settings
from tests.receive.listener_process import ct_series, write_series


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "bmd-node.toml"
    path.write_text(f'state_dir = "{tmp_path / "state"}"\n[listener]\nmin_free_disk_mb = 0\n')
    return path


def test_a_study_is_measured_again_once_for_each_time_that_it_is_asked_for(config: Path, tmp_path: Path) -> None:
    settings = load_settings(config)
    (tmp_path / "ct").mkdir()
    images = ct_series(3)
    write_series(tmp_path / "ct", images)
    import_folder(tmp_path / "ct", settings)
    uid = str(images[0].StudyInstanceUID)
    studies = ReceivedStudies.open(settings)
    for number in (1, 2):
        for _ in range(2):
            asked = CliRunner().invoke(main, ["rerun", "--config", str(config), uid])
            assert asked.exit_code == 0, asked.output
        [rerun] = studies.reruns()
        assert (rerun.number, rerun.study.reason, rerun.study.n_instances) == (number, QuietReason.ASKED_FOR, 3)
        assert all(path.is_file() for path in rerun.study.paths)
        studies.mark_rerun_taken(rerun)
        assert studies.reruns() == []


def test_what_cannot_be_measured_again_is_told(config: Path, tmp_path: Path) -> None:
    settings = load_settings(config)
    ReceivedStudies.open(settings)
    asked = CliRunner().invoke(main, ["rerun", "--config", str(config), "1.2.3"])
    assert asked.exit_code == 1
    assert "study 1.2.3 was not received" in asked.output

    (tmp_path / "ct").mkdir()
    images = ct_series(3)
    write_series(tmp_path / "ct", images)
    import_folder(tmp_path / "ct", settings)
    studies = ReceivedStudies.open(settings)
    [quiet] = studies.quiet_studies(datetime.now(UTC) + timedelta(days=1), settings.study)
    studies.mark_handed_over(quiet.study_instance_uid, quiet.content_digest, "run")
    studies.mark_run_finished("run")
    assert studies.remove_images_older_than(datetime.now(UTC) + timedelta(days=1)) == 3
    asked = CliRunner().invoke(main, ["rerun", "--config", str(config), quiet.study_instance_uid])
    assert asked.exit_code == 1
    assert "3 images of study" in asked.output
    assert studies.reruns() == []
