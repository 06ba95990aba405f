"""The audit trail at a syslog server: Debian's rsyslog, over UDP and TLS."""

from __future__ import annotations

import base64
import datetime as dt
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from node.audit import Forwarder, audit_message
from node.common.errors import ConfigurationError
from node.records.audit import NO_HASH, Action, AuditEntry, AuditRecords, AuditRow
from node.settings.login import AuditSettings
from node.settings.tree import Settings
from tests.certificates import certificates
from tests.deliver.delivery_servers import eventually, free_port, is_open

__all__ = ["certificates"]

STUDY = "1.2.826.0.1.3680043.8.498.1"
LOOKED = AuditEntry(Action.VIEW, True, "müller", "10.1.2.3", STUDY, 'summary page <&" ')


@dataclass(frozen=True)
class Rsyslog:
    """A server that writes a line for each message: facility, severity, time, host, program, message id and message."""

    file: Path
    port: int

    def lines(self) -> list[list[str]]:
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        return [line.split("|", 6) for line in text.splitlines()]

    def messages(self) -> list[ET.Element]:
        return [ET.fromstring(line[6].lstrip("\ufeff").encode()) for line in self.lines()]  # noqa: S314 - our own


def server(folder: Path, certificates: Path, port: int) -> subprocess.Popen[bytes]:
    program = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin")
    if program is None or not Path("/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so").exists():
        pytest.skip("rsyslog is not installed (Debian packages rsyslog, rsyslog-openssl)")
    fields = ("syslogfacility", "syslogseverity", "timestamp:::date-rfc3339", "hostname", "app-name", "msgid")
    line = "|".join(f"%{field}%" for field in fields) + r"|%msg%\n"
    (folder / "rsyslog.conf").write_text(f"""
global(workDirectory="{folder}" maxMessageSize="64k" DefaultNetstreamDriver="ossl"
  DefaultNetstreamDriverCAFile="{certificates}/authority.pem"
  DefaultNetstreamDriverCertFile="{certificates}/node.pem" DefaultNetstreamDriverKeyFile="{certificates}/node.key")
module(load="imudp")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imudp" address="127.0.0.1" port="{port}")
input(type="imtcp" address="127.0.0.1" port="{port}")
template(name="line" type="string" string="{line}")
*.* action(type="omfile" file="{folder}/log" template="line" asyncWriting="off" flushOnTXEnd="on")
""")
    command = [program, "-n", "-f", folder / "rsyslog.conf", "-i", folder / "pid"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: is_open(port), "rsyslogd", 60.0)
    return process


@pytest.fixture
def rsyslog(tmp_path: Path, certificates: Path) -> Iterator[Rsyslog]:
    port = free_port()
    process = server(tmp_path, certificates, port)
    try:
        yield Rsyslog(tmp_path / "log", port)
    finally:
        process.terminate()
        process.wait(30)


def settings(certificates: Path, port: int, protocol: str, **changes: str) -> AuditSettings:
    ca = {"syslog_ca_file": str(certificates / "authority.pem")} if protocol == "tls" else {}
    values = {"syslog_host": "127.0.0.1", "syslog_port": port, "syslog_protocol": protocol, "source_id": "node-1", **ca}
    return AuditSettings.model_validate(values | changes)


@pytest.mark.parametrize("protocol", ["udp", "tls"])
def test_a_server_gets_the_trail_once_and_in_order(
    rsyslog: Rsyslog, certificates: Path, tmp_path: Path, protocol: str
) -> None:
    records = AuditRecords.open(Settings(state_dir=tmp_path / "state"))
    records.add(AuditEntry(Action.LOGIN, True, "before", "10.1.2.3"))
    one = settings(certificates, rsyslog.port, protocol)
    forwarder = Forwarder(records, one)
    records.add(LOOKED)
    records.add(AuditEntry(Action.LOGIN, False, "", "10.9.9.9", "", "wrong name or password"))
    assert forwarder.send_new()
    eventually(lambda: len(rsyslog.lines()) == 2, "two messages")
    facility, severity, at, host, program, message_id, message = rsyslog.lines()[0]
    assert (facility, severity, host, program, message_id) == ("10", "5", "node-1", "bmd-node", "DICOM+RFC3881")
    rows = list(records.rows())
    assert abs(dt.datetime.fromisoformat(at) - rows[1].at) < dt.timedelta(milliseconds=1)
    assert message.lstrip("\ufeff").startswith("<?xml")
    looked, failed = rsyslog.messages()
    assert looked.find("ParticipantObjectIdentification").get("ParticipantObjectID") == STUDY  # type: ignore[union-attr]
    assert failed.find("EventIdentification").get("EventOutcomeIndicator") == "4"  # type: ignore[union-attr]
    records.add(LOOKED)
    assert Forwarder(records, one).send_new(), "another process does not send while this one does"
    assert forwarder.send_new()
    eventually(lambda: len(rsyslog.lines()) == 3, "the third, and nothing twice")


def test_what_cannot_be_sent_is_sent_later(certificates: Path, tmp_path: Path) -> None:
    records = AuditRecords.open(Settings(state_dir=tmp_path / "state"))
    port = free_port()
    forwarder = Forwarder(records, settings(certificates, port, "tls"))
    for _ in range(3):
        records.add(LOOKED)
    assert not forwarder.send_new()
    process = server(tmp_path, certificates, port)
    try:
        distrustful = settings(certificates, port, "tls", syslog_ca_file=str(certificates / "stranger.pem"))
        other = AuditRecords.open(Settings(state_dir=tmp_path / "other"))
        strange = Forwarder(other, distrustful)
        other.add(LOOKED)
        assert not strange.send_new(), "a server that cannot be trusted gets nothing"
        assert forwarder.send_new()
        log = Rsyslog(tmp_path / "log", port)
        eventually(lambda: len(log.lines()) == 3, "all three")
    finally:
        process.terminate()
        process.wait(30)


def test_a_file_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    records = AuditRecords.open(Settings(state_dir=tmp_path))
    with pytest.raises(ConfigurationError, match=r"audit\.syslog"):
        Forwarder(records, AuditSettings(syslog_host="127.0.0.1", syslog_ca_file=str(tmp_path / "missing.pem")))


def message(entry: AuditEntry) -> ET.Element:
    row = AuditRow(7, dt.datetime(2026, 2, 3, 4, 5, 6, 789000, dt.UTC), entry, NO_HASH, NO_HASH)
    return ET.fromstring(audit_message(row, "node-1", "hospital"))  # noqa: S314 - our own


def test_every_action_is_an_event_of_the_standard() -> None:
    """PS3.15 A.5.1: the order of the elements, and what each must have; A.5.3: the events."""
    for action in Action:
        for is_success in (True, False):
            root = message(AuditEntry(action, is_success, "user\x01", "10.1.2.3", "1.2.3", "a detail\x07"))
            names = [child.tag for child in root]
            assert names == [
                "EventIdentification",
                "ActiveParticipant",
                "ActiveParticipant",
                "AuditSourceIdentification",
                "ParticipantObjectIdentification",
            ]
            event = root[0]
            assert event.get("EventActionCode") in set("CRUDE")
            assert event.get("EventDateTime") == "2026-02-03T04:05:06.789+00:00"
            assert (event.get("EventOutcomeIndicator") == "0") is is_success
            assert event.findtext("EventOutcomeDescription") == "a detail?"
            for code in [*root.iter("EventID"), *root.iter("EventTypeCode"), *root.iter("RoleIDCode")]:
                assert set(code.attrib) == {"csd-code", "codeSystemName", "originalText"}
            person, application = root[1], root[2]
            assert (person.get("UserID"), person.get("UserIsRequestor")) == ("user?", "true")
            assert person.get("NetworkAccessPointTypeCode") == "2"
            assert application.find("RoleIDCode").get("csd-code") == "110150"  # type: ignore[union-attr]
            assert root[3].attrib == {"AuditSourceID": "node-1", "AuditEnterpriseSiteID": "hospital"}


def test_a_login_a_look_and_a_search_are_what_the_standard_calls_them() -> None:
    login = message(AuditEntry(Action.LOGIN, False, "", "10.1.2.3", "", "wrong name or password"))
    assert login.find("EventIdentification/EventID").get("csd-code") == "110114"  # type: ignore[union-attr]
    assert login.find("EventIdentification/EventTypeCode").get("csd-code") == "110122"  # type: ignore[union-attr]
    assert login.find("ParticipantObjectIdentification") is None
    look = message(LOOKED)
    assert look.find("EventIdentification/EventID").get("csd-code") == "110103"  # type: ignore[union-attr]
    study = look.find("ParticipantObjectIdentification")
    assert study is not None
    assert (study.get("ParticipantObjectTypeCode"), study.get("ParticipantObjectTypeCodeRole")) == ("2", "3")
    assert study.find("ParticipantObjectIDTypeCode").get("csd-code") == "110180"  # type: ignore[union-attr]
    search = message(AuditEntry(Action.SEARCH, True, "müller", "10.1.2.3", "", "by accession number"))
    query = search.findtext("ParticipantObjectIdentification/ParticipantObjectQuery")
    assert base64.b64decode(query or "") == b"by accession number"
