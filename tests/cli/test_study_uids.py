"""An accession number in the place of a Study Instance UID is told from one, before anything is asked of a server."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from node.cli.main import main


@pytest.mark.parametrize("command", ["retrieve", "rerun"])
@pytest.mark.parametrize("value", ["A-2026-11-28", "1.2.3.", "1.02.3", "1." + "2" * 64, "../etc"])
def test_what_is_no_uid_is_refused_with_what_to_do(command: str, value: str) -> None:
    result = CliRunner().invoke(main, [command, "1.2.3", value])
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert f"{value[:40]}" in said.replace(" ", "") or value in said
    assert "not a Study Instance UID" in said
