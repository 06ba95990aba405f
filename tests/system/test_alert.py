"""A patient with low BMD who is to get screws: the surgeon gets one mail, over a real SMTP server."""

from __future__ import annotations

from pathlib import Path

import pydicom
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message

from node.deliver import send
from node.demo.pacs import Pacs, free_port
from node.model import Level
from node.phantom import NARROW_SPINE, PhantomParameters, make_phantom, write_series
from node.records.alerts import AlertRecords, MessageState
from node.records.runs import DeliveryState
from node.settings.tree import load_settings
from tests.system.conftest import PATIENCE_S, node_for, wait_until


class _Inbox(Message):
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[str] = []

    def handle_message(self, message: object) -> None:
        self.mails.append(str(message))


def test_low_bmd_before_an_operation_sends_one_mail(pacs: Pacs, tmp_path: Path) -> None:
    levels = ((Level.L1, 70.0), (Level.L2, 66.0), (Level.L3, 64.0), (Level.L4, 68.0))
    parameters = PhantomParameters(
        level_densities_mg_cm3=levels, field_of_view=NARROW_SPINE, pixel_spacing_mm=1.0, slice_distance_mm=2.0
    )
    images = write_series(make_phantom(parameters), tmp_path / "ct")
    for path in images:
        ds = pydicom.dcmread(path)
        ds.StudyDescription = "CT lumbar spine, planning TLIF L4/5"
        ds.AccessionNumber = "A-4711"
        ds.save_as(path)
    inbox = _Inbox()
    smtp = Controller(inbox, hostname="127.0.0.1", port=free_port())
    smtp.start()
    try:
        with node_for(pacs, tmp_path / "node") as node:
            with node.config.open("a") as config:
                config.write(
                    f'\n[alert]\nsmtp_host = "127.0.0.1"\nsmtp_port = {smtp.port}\nsmtp_security = "none"\n'
                    'sender = "node@hospital.example"\nrecipients = ["surgeon@hospital.example"]\n'
                    # so that the order of the phantom's CT is still open, whatever day it is
                    "days_ahead = 36500\n"
                )
            node.start()
            send(images, node.as_destination, "SCANNER", PATIENCE_S).require_all_stored()
            wait_until(lambda: bool(inbox.mails), f"the mail; log: {node.log.read_text()[-2000:]}")
            alerts = AlertRecords.open(load_settings(node.config))
            wait_until(
                lambda: [record.state for record in alerts.since(0.0)] == [MessageState.TAKEN],
                "the mail to be recorded as taken",
            )
            assert node.wait_until_delivered().deliveries[0].state is DeliveryState.STORED
    finally:
        smtp.stop()
    assert len(inbox.mails) == 1
    mail = inbox.mails[0]
    assert "A-4711" in mail
    assert "osteoporosis" in mail
    patient = pydicom.dcmread(images[0], stop_before_pixels=True)
    assert str(patient.PatientID) not in mail
    assert str(patient.PatientName).split("^")[0] not in mail
