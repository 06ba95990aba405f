"""A mistake in the settings is reported with its line, what was probably meant, and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.common.errors import ConfigurationError
from node.settings.tree import load_settings

DESTINATION = '[[destinations]]\nname = "{name}"\nae_title = "PACS"\nhost = "pacs"\nport = {port}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'log_level = "INFO"\nworker_cocurrency = 2\n',
            "line 2: worker_cocurrency is not a setting: did you mean worker_concurrency?",
        ),
        ("[listner]\nport = 1\n", "line 1: listner is not a setting: did you mean listener?"),
        ("[study]\nkeep_day = 3\n", "line 2: study.keep_day is not a setting: did you mean keep_days?"),
        ("[listener]\nsmtp_host = 'x'\n", "line 2: listener.smtp_host is not a setting here: it is one of [alert]"),
        ('[destinations]\nname = "pacs"\n', "line 1: destinations is a list: write [[destinations]] with two brackets"),
        ("[[listener]]\nport = 104\n", "line 1: listener is a single section: write [listener] with one bracket"),
        ('[study]\nmax_wait_s = 5\nkeep_days = "many"\n', "line 3: study.keep_days = 'many': must be a valid number"),
        (
            DESTINATION.format(name="a", port=104) + DESTINATION.format(name="b", port=99999),
            "line 10: destinations.2.port = 99999: must be less than or equal to 65535",
        ),
        (DESTINATION.format(name="a", port=104).replace("port = 104\n", ""), "line 1: destinations.1.port is missing"),
        ("[study]\nkeep_days = 1\nkeep_days = 2\n", "line 3"),
    ],
)
def test_a_mistake_is_said_in_words(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bmd-node.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load_settings(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


def test_every_mistake_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bmd-node.toml"
    path.write_text('[study]\nkeep_day = 3\n[web]\nport = "x"\n')
    with pytest.raises(ConfigurationError) as raised:
        load_settings(path)
    assert str(raised.value).count("line ") == 2


def test_what_a_setting_is_for_stands_beside_a_wrong_value(tmp_path: Path) -> None:
    path = tmp_path / "bmd-node.toml"
    path.write_text("[study]\nmax_wait_s = -1\n")
    with pytest.raises(ConfigurationError, match=r"default: 3600"):
        load_settings(path)


def test_a_mistake_in_the_environment_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BMD_NODE_STUDY__MAX_WAIT_S", "soon")
    with pytest.raises(ConfigurationError, match=r"the environment:\n  study.max_wait_s = 'soon': must be a valid number"):
        load_settings(None)
