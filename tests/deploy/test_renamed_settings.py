"""Names of settings from version 0.1.0: read with a warning, in the file and in the environment."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter

from node.alerts import Recipient
from node.alerts.values import alert_id
from node.cli.main import main
from node.cli.options import log_to_stderr
from node.common.errors import ConfigurationError
from node.doctor import examine
from node.settings.renamed import RENAMED, say_remembered
from node.settings.tree import Settings, load_settings

OLD_INSTALLATION = Path(__file__).parents[1] / "upgrade" / "bmd-node-0.1.0.toml"
FIRST = '[alert]\nsmtp_host = "localhost"\nsender = "a@x.example"\nrecipients = ["b@x.example"]\n'
VALUES = {
    "listener.calling_ae_titles": ('["CT1"]', ("CT1",)),
    "study.quiet_s": ("7.5", 7.5),
    "study.quiet_after_release_s": ("0.5", 0.5),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "bmd-node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def variable(name: str) -> str:
    return f"BMD_NODE_{name.replace('.', '__').upper()}"


def value_of(settings: Settings, name: str) -> object:
    section, key = name.split(".")
    return getattr(getattr(settings, section), key)


@pytest.mark.parametrize(("before", "now"), RENAMED.items())
def test_an_old_name_in_the_file(before: str, now: str, tmp_path: Path) -> None:
    text, value = VALUES[before]
    section, key = before.split(".")
    path = written(tmp_path, f"[{section}]\n{key} = {text}\n")
    settings = load_settings(path)
    assert value_of(settings, now) == value
    (warning,) = settings.old_names
    assert warning.startswith(f"{before} is called {now} now")
    new_key = now.split(".")[1]
    written(tmp_path, f"[{section}]\n{key} = {text}\n{new_key} = {text}\n")
    with pytest.raises(ConfigurationError, match=f"are both set: keep {now}, and remove {before}"):
        load_settings(path)
    written(tmp_path, f"[{section}]\n{new_key} = {text}\n")
    assert (value_of(load_settings(path), now), load_settings(path).old_names) == (value, ())


@pytest.mark.parametrize(("before", "now"), RENAMED.items())
def test_an_old_name_in_the_environment(before: str, now: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = VALUES[before]
    section, key = now.split(".")
    path = written(tmp_path, f"[{section}]\n{key} = {'[]' if text.startswith('[') else 99}\n")
    monkeypatch.setenv(variable(before), text)
    settings = load_settings(path)
    assert value_of(settings, now) == value, "the environment goes before the file"
    (warning,) = settings.old_names
    assert warning.startswith(f"{variable(before)} is called {variable(now)} now")
    monkeypatch.setenv(variable(now), text)
    with pytest.raises(ConfigurationError, match=f"keep {variable(now)}, and remove {variable(before)}"):
        load_settings(path)


def test_a_wrong_value_under_an_old_name_is_told_under_both(tmp_path: Path) -> None:
    path = written(tmp_path, "[study]\nquiet_s = -1\n")
    with pytest.raises(
        ConfigurationError, match=r"(?s)study\.stable_after_s = -1: .*study\.quiet_s is called study\.stable"
    ):
        load_settings(path)


def test_old_sections_are_receivers_with_the_names_of_the_records(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
alert_webhook = { url = "https://x.example/", secret_file = "secret" }
alert_second_fhir = { base_url = "https://x.example/fhir", patient_systems = { KIS = "urn:oid:1.2.3" } }
alert_second_hl7 = { port = 99 }

[alert_hl7]
host = "kis.example"
result_copies_to = ["17"]

[[alert_receivers]]
kind = "hl7"
name = "engine"
stage = "second"
host = "engine.example"
""",
    )
    settings = load_settings(path)
    assert [(one.name, one.kind, one.stage) for one in settings.alert_receivers] == [
        ("hl7", "hl7", "first"),
        ("webhook", "webhook", "first"),
        ("second_fhir", "fhir", "second"),
        ("engine", "hl7", "second"),
    ]
    assert settings.alert_receivers[0].model_dump()["result_copies_to"] == ("17",)
    assert len(settings.old_names) == 4
    assert settings.old_names[2].startswith("[alert_second_hl7] without host has no effect: remove it")
    assert 'name = "second_fhir", stage = "second"' in settings.old_names[3]


def test_old_sections_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, f'{FIRST}[alert_second_hl7]\nhost = "kis.example"\nport = 7\n')
    monkeypatch.setenv("BMD_NODE_ALERT_SECOND_HL7__PORT", "8")
    monkeypatch.setenv("BMD_NODE_ALERT_HL7__HOST", "kis.example")
    monkeypatch.setenv("BMD_NODE_ALERT_HL7__RESULT_COPIES_TO", '["17", "18"]')
    settings = load_settings(path)
    receivers = {one.name: one.model_dump() for one in settings.alert_receivers}
    assert receivers["second_hl7"]["port"] == 8
    assert receivers["hl7"]["result_copies_to"] == ("17", "18")
    assert settings.old_names[0].startswith("BMD_NODE_ALERT_HL7__… is now an entry of [[alert_receivers]]")
    assert settings.old_names[1].startswith("[alert_second_hl7] and BMD_NODE_ALERT_SECOND_HL7__… is now")
    monkeypatch.setenv("BMD_NODE_ALERT_RECEIVERS", json.dumps([{"kind": "hl7", "name": "x", "host": "x.example"}]))
    with pytest.raises(ConfigurationError, match="keep BMD_NODE_ALERT_RECEIVERS"):
        load_settings(path)


def test_receivers_as_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMD_NODE_ALERT_RECEIVERS", json.dumps([{"kind": "hl7", "name": "x", "host": "x.example"}]))
    assert [one.name for one in load_settings(None).alert_receivers] == ["x"]


@pytest.mark.parametrize("from_environment", [False, True])
def test_an_old_section_and_its_entry_are_an_error(
    from_environment: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = '[[alert_receivers]]\nkind = "hl7"\nname = "hl7"\nhost = "kis.example"\n'
    path = written(tmp_path, entry if from_environment else f"{entry}[alert_hl7]\nport = 7\n")
    if from_environment:
        monkeypatch.setenv("BMD_NODE_ALERT_HL7__PORT", "7")
    with pytest.raises(ConfigurationError, match=r'with name = "hl7" are both set: keep the entry'):
        load_settings(path)


def test_the_settings_of_an_old_installation_load(tmp_path: Path) -> None:
    text = OLD_INSTALLATION.read_text(encoding="utf-8")
    for place in ("LISTENER", "PACS", "SECOND", "HL7", "WEB", "WEBHOOK"):
        text = text.replace(f"@{place}_PORT@", "4242")
    settings = load_settings(written(tmp_path, text))
    assert [one.name for one in settings.alert_receivers] == ["webhook", "second_webhook"]
    assert (settings.study.stable_after_s, settings.study.stable_after_release_s) == (3.0, 0.5)
    assert settings.listener.allowed_calling_ae_titles == ("SCANNER1",)


OLD_IDS = {
    "hl7": "d78468fc0c61d2abee1a6adae2a6fd4e",
    "second_hl7": "c78b7f15de18ef17d8b3514acb1e8999",
    "webhook": "14a0af5dd44aac949a54258ba2d6f306",
}


@pytest.mark.parametrize(("name", "id_"), OLD_IDS.items())
def test_alerts_to_old_receivers_keep_their_ids(name: str, id_: str) -> None:
    """Written down as version 0.1.0 had them: another id would be another alert."""
    kept = TypeAdapter(Recipient).validate_json(json.dumps({"channel": name, "address": ""}))
    assert alert_id("hl7_siu>KIS>OP1", kept) == id_


def test_the_log_says_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_settings(written(tmp_path, "[study]\nquiet_s = 5\n"))
    with caplog.at_level(logging.WARNING):
        say_remembered()
        say_remembered()
    assert [record.getMessage().split(" now")[0] for record in caplog.records] == [
        "study.quiet_s is called study.stable_after_s"
    ]


def test_a_command_with_a_log_and_one_without_say_it_once(tmp_path: Path) -> None:
    path = written(tmp_path, f'state_dir = "{tmp_path}"\n[study]\nquiet_s = 5\n')
    done = CliRunner().invoke(main, ["settings", "--config", str(path)])
    assert json.loads(done.stdout)["study"]["stable_after_s"] == 5
    assert done.stderr.startswith("bmd-node: warning: study.quiet_s is called study.stable_after_s now")
    script = f"from pathlib import Path; from node.settings.tree import load_settings; load_settings(Path({str(path)!r}))"
    script += f"; from node.cli.options import {log_to_stderr.__name__}; {log_to_stderr.__name__}('INFO')"
    logged = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert logged.stderr.count("WARNING node.settings.renamed: study.quiet_s is called") == 1


def test_the_doctor_warns(tmp_path: Path) -> None:
    path = written(tmp_path, f'state_dir = "{tmp_path}"\n[study]\nquiet_s = 5\n')
    found = [one for one in examine(path) if one.check == "names of settings"]
    assert [(one.outcome.value, one.detail.split(" now")[0]) for one in found] == [
        ("warning", "study.quiet_s is called study.stable_after_s")
    ]
