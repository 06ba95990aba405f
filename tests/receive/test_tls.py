"""DICOM over TLS in both directions, with dcmtk on the other side (PS3.15 B.12)."""

from __future__ import annotations

import datetime as dt
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.common.errors import ConfigurationError, NodeError, TransportError
from node.common.tls import last_day
from node.deliver import echo, send
from node.doctor.certificates import check_certificates
from node.doctor.finding import Outcome
from node.settings.tree import Destination, ListenerSettings, Settings
from tests.certificates import certificates
from tests.receive.listener_process import Listener, ct_series, debian_tool, eventually, free_port, write_series

__all__ = ["certificates"]


def as_listener(folder: Path, **changes: object) -> dict[str, object]:
    """Settings of a listener with TLS."""
    return {
        "tls_certificate_file": str(folder / "node.pem"),
        "tls_key_file": str(folder / "node.key"),
        "tls_client_ca_file": str(folder / "authority.pem"),
        **changes,
    }


def echoscu(port: int, *options: str, title: str = "DCMTK") -> int:
    """Exit status of dcmtk's C-ECHO."""
    command = [
        debian_tool("echoscu"),
        "-to",
        "5",
        "-ta",
        "5",
        *options,
        "-aet",
        title,
        "-aec",
        "BMDNODE",
        "127.0.0.1",
        str(port),
    ]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


def own(folder: Path, name: str) -> tuple[str, ...]:
    """dcmtk's options to show a certificate and to check that of the node."""
    return ("+tls", str(folder / f"{name}.key"), str(folder / f"{name}.pem"), "+cf", str(folder / "authority.pem"))


def test_who_has_a_valid_certificate_comes_in_and_nobody_else(
    make_listener: Callable[..., Listener], certificates: Path
) -> None:
    listener = make_listener(**as_listener(certificates))
    listener.start()
    assert echoscu(listener.port, *own(certificates, "sender")) == 0
    assert echoscu(listener.port, *own(certificates, "expired")) != 0
    assert echoscu(listener.port, *own(certificates, "stranger")) != 0
    assert echoscu(listener.port, "+tla", "+cf", str(certificates / "authority.pem")) != 0  # shows none
    assert echoscu(listener.port) != 0  # no TLS
    assert echoscu(listener.port, *own(certificates, "sender")) == 0
    assert "Traceback" not in listener.log.read_text()


def test_images_arrive_over_tls_and_without_on_two_ports(
    make_listener: Callable[..., Listener], certificates: Path, tmp_path: Path
) -> None:
    tls_port = free_port()
    listener = make_listener(**as_listener(certificates, tls_port=tls_port))
    listener.start()
    files = write_series(tmp_path / "images", ct_series(6, size=256))
    for port, options, some in ((tls_port, own(certificates, "sender"), files[:4]), (listener.port, (), files[4:])):
        command = [debian_tool("storescu"), *options, "-aec", "BMDNODE", "127.0.0.1", str(port), *map(str, some)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert len(listener.rows()) == 6
    assert echoscu(tls_port) != 0


def test_a_certificate_is_optional_or_not_asked_for(make_listener: Callable[..., Listener], certificates: Path) -> None:
    none = ("+tla", "+cf", str(certificates / "authority.pem"))
    optional = make_listener(**as_listener(certificates, tls_client_certificate="optional"))
    optional.start()
    assert [
        echoscu(optional.port, *one) == 0 for one in (none, own(certificates, "sender"), own(certificates, "expired"))
    ] == [
        True,
        True,
        False,
    ]
    unasked = make_listener(**as_listener(certificates, tls_client_certificate="none"))
    unasked.start()
    assert echoscu(unasked.port, *none) == 0


def test_an_ae_title_is_bound_to_its_certificate(make_listener: Callable[..., Listener], certificates: Path) -> None:
    listener = make_listener(**as_listener(certificates))
    bound = [{"ae_title": "CT1", "certificate_names": ["sender"]}, {"ae_title": "CT2", "certificate_names": ["other"]}]
    listener.settings = Settings.model_validate({**listener.settings.model_dump(), "senders": bound})
    listener.start()
    assert echoscu(listener.port, *own(certificates, "sender"), title="CT1") == 0
    assert echoscu(listener.port, *own(certificates, "sender"), title="CT2") != 0


def test_old_protocols_are_refused(make_listener: Callable[..., Listener], certificates: Path) -> None:
    listener = make_listener(**as_listener(certificates, tls_client_certificate="none"))
    listener.start()

    def s_client(*options: str) -> int:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.port}", "-CAfile", "authority.pem", *options]
        return subprocess.run(command, cwd=certificates, input=b"", capture_output=True, timeout=60, check=False).returncode

    assert [s_client("-tls1_2"), s_client("-tls1_3")] == [0, 0]
    assert s_client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0") != 0
    assert s_client("-tls1_2", "-cipher", "AES128-SHA") != 0


def test_handshakes_that_never_end_lock_nobody_out(make_listener: Callable[..., Listener], certificates: Path) -> None:
    listener = make_listener(**as_listener(certificates), max_associations=2, artim_s=2)
    listener.start()
    held = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(50)]
    held[0].sendall(b"\x16\x03\x01")
    assert echoscu(listener.port, *own(certificates, "sender")) == 0
    for one in held:
        one.settimeout(15)
        assert one.recv(100) == b""
        one.close()


@pytest.fixture
def pacs(certificates: Path, tmp_path: Path) -> Iterator[int]:
    """dcmtk's storescp that wants a certificate of the authority."""
    port = free_port()
    folder = tmp_path / "pacs"
    folder.mkdir()
    process = subprocess.Popen([debian_tool("storescp"), *own(certificates, "node"), "-od", str(folder), str(port)])
    eventually(lambda: _answers(destination(port, certificates)), "storescp answers")
    yield port
    process.terminate()
    process.wait(10)


def destination(port: int, certificates: Path, **changes: object) -> Destination:
    """A destination with TLS."""
    return Destination.model_validate(
        {
            "name": "pacs",
            "ae_title": "PACS",
            "host": "127.0.0.1",
            "port": port,
            "tls": True,
            "tls_ca_file": str(certificates / "authority.pem"),
            "tls_certificate_file": str(certificates / "sender.pem"),
            "tls_key_file": str(certificates / "sender.key"),
            **changes,
        }
    )


def test_results_go_out_over_tls(pacs: int, certificates: Path, tmp_path: Path) -> None:
    files = write_series(tmp_path / "images", ct_series(2))
    assert all(one.is_stored for one in send(files, destination(pacs, certificates), "BMDNODE", 10).objects)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tls_ca_file": "stranger.pem"}, "its certificate is not accepted"),
        ({"tls_certificate_file": "expired.pem", "tls_key_file": "expired.key"}, "no association|no TLS connection"),
        ({"tls_certificate_file": "", "tls_key_file": ""}, "no association|no TLS connection"),
        ({"tls_certificate_file": "stranger.pem", "tls_key_file": "stranger.key"}, "no association|no TLS connection"),
        ({"tls_certificate_file": "sender.pem", "tls_key_file": "node.key"}, "cannot be used"),
        ({"host": "127.0.0.2"}, "its certificate is not accepted"),
        ({"tls": False, "tls_ca_file": "", "tls_certificate_file": "", "tls_key_file": ""}, "no association"),
    ],
    ids=["another authority", "expired", "no certificate", "a stranger's", "another key", "another host", "no TLS"],
)
def test_what_is_wrong_with_a_certificate_is_said(
    pacs: int, certificates: Path, changes: dict[str, object], said: str
) -> None:
    placed = {
        name: str(certificates / str(value)) if name.endswith("_file") and value else value
        for name, value in changes.items()
    }
    with pytest.raises(TransportError, match=said):
        echo(destination(pacs, certificates, **placed), "BMDNODE", 5)


def test_the_doctor_knows_how_long_they_are_valid(certificates: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=1) < last_day(str(certificates / "node.pem")) - now < dt.timedelta(days=3)
    assert last_day(str(certificates / "expired.pem")) < now
    with pytest.raises(ConfigurationError):
        last_day(str(certificates / "node.key"))
    for name, outcome in (("node", Outcome.WARNING), ("expired", Outcome.ERROR), ("absent", Outcome.ERROR)):
        files = {"tls_certificate_file": f"{certificates}/{name}.pem", "tls_key_file": f"{certificates}/{name}.key"}
        listener = ListenerSettings.model_validate({**as_listener(certificates), **files})
        (finding,) = check_certificates(Settings(listener=listener))
        assert finding.outcome is outcome, finding


def test_settings_that_prove_nothing_are_refused(certificates: Path) -> None:
    for changes in ({"tls_ca_file": "", "tls_check_host": False}, {"tls": False}):
        with pytest.raises(ValueError, match="tls"):
            destination(1, certificates, **changes)
    for listener in ({"tls_port": 2762}, as_listener(certificates, tls_client_ca_file="")):
        with pytest.raises(ValueError, match="listener"):
            Settings(listener=ListenerSettings.model_validate(listener))


def _answers(to: Destination) -> bool:
    try:
        echo(to, "BMDNODE", 5)
    except NodeError:
        return False
    return True
