"""Mails to administrators through a real mail server: once when something begins, once when it is over."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from click.testing import CliRunner

from node.cli.main import main
from node.common.errors import ConfigurationError, TransportError
from node.records.database import open_database
from node.records.received import conflicts, instances
from node.records.watch import CLAIM_S, Condition, WatchRecords
from node.records.work import WorkKind, WorkRecords, work_id_of
from node.settings.tree import Settings, load_settings
from node.supervisor import parts_of
from node.watch import Watch
from tests.alerts.mail_servers import Inbox
from tests.receive.listener_process import free_port

#: Of the planted patient and study; they must not be in any mail.
PATIENT_DATA = ("Doe", "4711", "1.2.3.4.5")
ADMINISTRATORS = ["admin@example.org", "duty@example.org"]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """What a mail server of this machine has taken; ``port`` is where it listens."""
    taken = Inbox()
    server = Controller(taken, hostname="127.0.0.1", port=free_port())
    server.start()
    taken.port = server.port  # type: ignore[attr-defined]
    yield taken
    server.stop()


@pytest.fixture
def config(tmp_path: Path, inbox: Inbox) -> Path:
    """Settings with administrators; nothing of the node runs."""
    path = tmp_path / "bmd-node.toml"
    path.write_text(
        f'state_dir = "{tmp_path / "state"}"\n[listener]\nhost = "127.0.0.1"\nport = {free_port()}\n'
        f"[web]\nport = {free_port()}\n"
        '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 1\n'
        f'[alert]\nsmtp_host = "127.0.0.1"\nsmtp_port = {inbox.port}\nsmtp_security = "none"\n'  # type: ignore[attr-defined]
        'sender = "node@example.org"\nrecipients = ["surgeon@example.org"]\n'
        f"[watch]\nrecipients = {ADMINISTRATORS}\npart_down_s = 0\ndestination_fails_s = 0\nfree_disk_mb = {2**40}\n"
    )
    open_database(load_settings(path))
    return path


def bodies(inbox: Inbox) -> list[str]:
    """Texts of the mails to the first administrator; all others got the same."""
    to = {address: [raw for _, found, raw in inbox.taken if found == [address]] for address in ADMINISTRATORS}
    assert len({len(found) for found in to.values()}) == 1
    assert len(inbox.taken) == sum(map(len, to.values())), "nobody else gets a mail"
    texts = []
    for raw in to[ADMINISTRATORS[0]]:
        mail = message_from_bytes(raw, policy=default)
        texts.append(f"{mail['Subject']}\n{' '.join(mail.get_content().split())}")  # type: ignore[attr-defined]
    assert not [word for word in PATIENT_DATA for _, _, raw in inbox.taken if word.encode() in raw]
    return texts


def plant(settings: Settings) -> None:
    """A delivery that fails, one that was given up, a study in conflict, and an equation that expires."""
    work = WorkRecords.open(settings)
    for number in (1, 2):
        work.add(WorkKind.DELIVER, f"1.2.3.4.5-{number}", "pacs")
    work.again(work_id_of(WorkKind.DELIVER, "1.2.3.4.5-1", "pacs"), 0.0, "Doe^Jane 4711", failures=3, refusals=0)
    work.given_up(work_id_of(WorkKind.DELIVER, "1.2.3.4.5-2", "pacs"), "Doe^Jane 4711")
    columns = {"study_instance_uid": "1.2.3.4.5", "transfer_syntax_uid": "1.2", "path": "x", "received_s": 1.0}
    with open_database(settings).begin() as connection:
        connection.execute(
            sa.insert(instances).values(
                sop_instance_uid="1.2.3.4.5.6", series_instance_uid="1.3", sop_class_uid="1.4", digest="a", **columns
            )
        )
        connection.execute(sa.insert(conflicts).values(sop_instance_uid="1.2.3.4.5.6", digest="b", **columns))


def test_everything_is_told_once_and_once_when_it_is_over(config: Path, inbox: Inbox, tmp_path: Path) -> None:
    equations = tmp_path / "equations.toml"
    day = dt.date.today() + dt.timedelta(days=10)
    equations.write_text(
        '[[equation]]\nid = "site-1"\nmanufacturer = ["ACME"]\nmodel = ["Scanner 1"]\nkvp = 120\n'
        "slope = 0.8\nintercept = 0.0\n"
        f'material = "HA"\nsource = "phantom"\nstatus = "active"\napproved_by = "A. Physicist"\napproved_on = 2026-01-01\n'
        f"valid_until = {day.isoformat()}\n"
    )
    config.write_text(f'{config.read_text()}[calibrate]\nsite_equations = "{equations}"\n')
    settings = load_settings(config)
    plant(settings)
    Watch(settings).look()
    [told] = bodies(inbox)
    for word in (
        "listener is down",
        "worker is down",
        "web is down",
        "MB are free",
        "destination pacs fails",
        "work was given up (deliver)",
        "studies are in conflict",
        "equation site-1 is valid until",
        "8 new",
    ):
        assert word in told
    Watch(settings).look()  # as after a restart
    assert len(bodies(inbox)) == 1
    work = WorkRecords.open(settings)
    assert work.drop(work_id_of(WorkKind.DELIVER, "1.2.3.4.5-2", "pacs"))
    work.finished(work_id_of(WorkKind.DELIVER, "1.2.3.4.5-1", "pacs"))
    for _ in range(2):
        Watch(settings).look()
    [_, over] = bodies(inbox)
    assert "2 over" in over
    assert over.count("Over since") == 2
    assert "destination pacs fails" in over
    result = CliRunner().invoke(main, ["watch", "--once", "--config", str(config)])
    assert result.exit_code == 1
    assert "listener is down" in result.output
    assert len(bodies(inbox)) == 2


def test_several_that_look_at_once_send_once(config: Path, inbox: Inbox) -> None:
    watches = [Watch(load_settings(config)) for _ in range(4)]
    begin = threading.Barrier(len(watches))

    def look(watch: Watch) -> None:
        begin.wait()
        watch.look()

    threads = [threading.Thread(target=look, args=(watch,)) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = bodies(inbox)
    assert sum(text.count("listener is down") for text in texts) == 1


def test_a_mail_server_that_defers_gets_it_at_the_next_look(config: Path, inbox: Inbox) -> None:
    watch = Watch(load_settings(config))
    inbox.replies["RCPT"] = "451 later"
    with pytest.raises(TransportError):
        watch.look()
    inbox.replies.clear()
    watch.look()
    assert len(bodies(inbox)) == 1


def test_what_passes_soon_is_not_told_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    now = [1000.0]
    records = WatchRecords(open_database(Settings(state_dir=tmp_path)), lambda: now[0])
    here, elsewhere = Condition("disk@a", "a", "low", 60.0), Condition("disk@b", "b", "low", 0.0)
    records.seen((here,), ("", "a"))
    records.seen((elsewhere,), ("", "b"))
    assert [one.condition_id for one in records.claim()] == ["disk@b"], "the other one has not lasted long enough"
    assert records.claim() == ()
    now[0] += CLAIM_S + 1  # the process that took it was killed
    taken = records.claim()
    assert [one.condition_id for one in taken] == ["disk@a", "disk@b"]
    records.told(taken)
    records.seen((), ("", "a"))
    [over] = records.claim()
    assert (over.condition_id, over.over_s) == ("disk@a", now[0])
    records.seen((here,), ("", "a"))  # again, before anybody was told that it is over
    records.told((over,))
    again = records.claim()
    assert [one.condition_id for one in again] == ["disk@a"]
    records.told(again)
    assert [one.condition_id for one in records.known()] == ["disk@a", "disk@b"]
    records.seen((), ("", "a", "b"))
    records.told(records.claim())
    assert records.known() == ()


def test_it_is_a_part_of_the_node_if_there_are_administrators(config: Path) -> None:
    assert "watch" in parts_of(load_settings(config))
    assert "watch" not in parts_of(Settings())
    config.write_text(config.read_text().replace('smtp_host = "127.0.0.1"', "").replace("smtp_port", "#"))
    with pytest.raises(ConfigurationError, match=r"watch\.recipients are set, so alert\.smtp_host"):
        load_settings(config)


def test_the_doctor_says_that_a_node_which_ran_before_does_not_run(config: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--json", "--config", str(config)])
    assert result.exit_code == 1
    assert "the node does not run here" in result.output
