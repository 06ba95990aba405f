"""The scenario table through the stores, and what becomes of messages there: kept, sent once, overtaken, acknowledged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message as EmailMessage
from pathlib import Path

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as Handler
from click.testing import CliRunner
from pydantic import TypeAdapter

from node.alerts import Alert
from node.alerts.service import AlertService
from node.cli.main import main
from node.plans.fhir_search import FhirSearch
from node.records.alerts import AlertRecords, MessageState
from node.records.database import metadata, open_database
from node.records.planned_operations import PlannedOperations
from node.settings.tree import Settings, load_settings
from node.study.run_folder import save_kept_run
from node.study.stages import KeptRun, MeasureOutcome, SegmentOutcome
from tests.alerts.conftest import empty_database, free_port
from tests.alerts.scenarios import Scenario, Step, identity, said, scenarios
from tests.plans.fhir_server import TOKEN, FhirServer

TABLE = scenarios()
BY_NAME = {scenario.name: scenario for scenario in TABLE}


@dataclass
class Site:
    """The stores of a node in a folder, with a clock that the test sets."""

    settings: Settings
    now: dt.datetime = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    n_runs: int = 0

    def __post_init__(self) -> None:
        self.alerting = AlertService(self.settings, self._clock)
        self.plans = PlannedOperations.open(self.settings)

    def _clock(self) -> float:
        return self.now.timestamp()

    @property
    def records(self) -> AlertRecords:
        return self.alerting.records

    def decide_after(self, steps: Sequence[Step]) -> None:
        """Apply steps and decide after each; nothing is delivered."""
        for step in steps:
            self.apply(step)
            self.decide()

    def apply(self, step: Step) -> None:
        """The event of a step, as the rooms before would bring it about."""
        self.now = step.when
        if step.plan or step.cancel:
            self.plans.keep(step.planned(self.plans.operation(step.key)), f"message {step.at}")
        if step.result:
            self.keep_result(step)
        for record in self.records.since(0.0):
            name = record.message.recipient.partition("@")[0] or record.message.channel
            if name == step.acknowledge:
                assert self.records.acknowledge(record.message.alert_id, "command line")
            if name == step.refuse:
                self.records.answered(record.message.message_id, MessageState.REJECTED, "550 nobody here")

    def keep_result(self, step: Step) -> None:
        self.n_runs += 1
        folder = self.settings.state_dir / f"run-{self.n_runs}"
        folder.mkdir(parents=True)
        found = step.study_result()
        if found is not None:
            nothing = SegmentOutcome(None, "", None, (), (), (), 0.0)
            kept = KeptRun(found, nothing, MeasureOutcome((), None, None, 0.0), step.order_text)
            save_kept_run(folder, kept)
        measured = None if found is None else folder
        self.alerting.keep_result(f"run-{self.n_runs}", step.study_instance_uid, identity(), measured, folder)

    def decide(self) -> list[str]:
        """Decide as the worker does; what the table says, whether the patient was due or not."""
        self.alerting.read_plans()
        keys = self.records.patients_since(0.0)
        actions = [action for key in keys for action in self.alerting.evaluate(key, self.now).actions]
        due = {patient.patient_key for patient in self.records.due(self.now.timestamp())}
        assert due or not any(action.alert for action in actions), "a patient with something to be said is due"
        self.alerting.decide_due(self.now)
        assert not self.records.due(self.now.timestamp()), "what was decided is decided"
        return said(tuple(actions))

    def deliver(self) -> None:
        """Every waiting message is taken at once."""
        for message_id in self.records.waiting():
            self.records.mark_handed_over(message_id)
            self.records.begin_attempt(message_id)
            self.records.answered(message_id, MessageState.TAKEN, "250 OK")


def site(folder: Path, scenario: Scenario, database_url: str | None = None, **changes: object) -> Site:
    fhir = changes.pop("plans_fhir", {})
    alert = {**scenario.alert_settings().model_dump(), **changes}
    chosen = {"state_dir": folder, "database_url": database_url, **scenario.sections(), "alert": alert, "plans_fhir": fhir}
    chosen["plans"] = {"time_zone": scenario.alert_settings().time_zone}
    return Site(Settings.model_validate(chosen))


class Sites:
    """Nodes on one database, one for all scenarios with the same settings: to open one takes longer than a scenario."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self._folder, self._database_url = folder, database_url
        self._opened: dict[str, Site] = {}
        self._n_runs = 0
        settings = Settings(state_dir=folder, database_url=database_url)
        self._engine = open_database(settings)

    @contextmanager
    def empty(self, scenario: Scenario) -> Iterator[Site]:
        """The node of a scenario, which knows nothing yet."""
        chosen = repr(scenario.sections())
        if chosen not in self._opened:
            self._opened[chosen] = site(self._folder, scenario, self._database_url)
        node = self._opened[chosen]
        with self._engine.begin() as connection:
            for table in metadata.sorted_tables:
                connection.execute(sa.delete(table))
        node.n_runs = self._n_runs
        try:
            yield node
        finally:
            self._n_runs = node.n_runs


@pytest.fixture(scope="module")
def sites(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with empty_database(request.param, request) as url:
        yield Sites(tmp_path_factory.mktemp("sites"), url)


#: The longer rows hold every kind of event; the shorter ones would ask PostgreSQL nothing else.
ROWS = [("sqlite", scenario) for scenario in TABLE]
ROWS += [("postgresql", scenario) for scenario in TABLE if len(scenario.steps) > 3]


@pytest.mark.parametrize(
    ("sites", "scenario"), ROWS, ids=[f"{kind}, {scenario.name}" for kind, scenario in ROWS], indirect=["sites"]
)
def test_through_the_stores(scenario: Scenario, sites: Sites) -> None:
    with sites.empty(scenario) as node:
        go_through(scenario, node)


def go_through(scenario: Scenario, node: Site) -> None:
    for step in scenario.steps:
        node.apply(step)
        assert node.decide() == list(step.expect), f"at {step.at}"
        # what is taken now is taken: deciding again at the same time says nothing more
        node.deliver()
        n_before = len(node.records.since(0.0))
        node.alerting.decide_due(node.now)
        assert len(node.records.since(0.0)) == n_before


def steps_of(name: str) -> tuple[Step, ...]:
    return BY_NAME[name].steps


def test_a_restart_between_decision_and_sending_loses_and_repeats_nothing(tmp_path: Path, database_url: str | None) -> None:
    scenario = BY_NAME["result first, operation planned three weeks later"]
    node = site(tmp_path, scenario, database_url)
    node.decide_after(scenario.steps[:2])
    (waiting,) = node.records.waiting()
    again = site(tmp_path, scenario, database_url)
    again.now = node.now
    again.alerting.decide_due(again.now)
    assert again.records.waiting() == (waiting,)
    assert len(again.records.since(0.0)) == 1


def test_two_workers_that_decide_at_the_same_time_say_it_once(tmp_path: Path, database_url: str | None) -> None:
    scenario = BY_NAME["operation planned first, result later"]
    node = site(tmp_path, scenario, database_url)
    for step in scenario.steps:
        node.apply(step)
    node.alerting.read_plans()
    (patient,) = node.records.due(node.now.timestamp())
    first, second = (node.alerting.evaluate(patient.patient_key, node.now) for _ in range(2))
    assert node.records.decided(patient, first.messages, None)
    assert not node.records.decided(patient, second.messages, None)
    assert len(node.records.since(0.0)) == 1


def test_a_message_that_was_overtaken_is_not_sent(tmp_path: Path, database_url: str | None) -> None:
    scenario = BY_NAME["moved to another day"]
    node = site(tmp_path, scenario, database_url)
    node.decide_after(scenario.steps[:3])
    first, second = node.records.waiting()
    assert node.alerting.to_send(second).state is MessageState.PENDING
    assert node.alerting.to_send(second).channel is None, "it waits for the one before it"
    assert node.alerting.attempt(first), "ends without an attempt"
    assert node.records.message(first).state is MessageState.SUPERSEDED
    ready = node.alerting.to_send(second)
    assert ready.channel is not None
    assert ready.alert.kind == "new", "nobody knows the one before it"


def test_where_the_first_receiver_does_not_answer_the_second_one_is_told_in_time(tmp_path: Path) -> None:
    """As the worker goes on by itself: it decides only on patients that are due."""
    scenario = BY_NAME["not acknowledged in time"]
    node = site(tmp_path, scenario)
    node.decide_after(scenario.steps[:2])
    told = []
    for _ in range(25):
        node.now += dt.timedelta(hours=1)
        node.alerting.decide_due(node.now)
        told.append([record.message.recipient for record in node.records.since(0.0)])
    assert told[22] == ["team@hospital.example"]
    assert told[23] == ["team@hospital.example", "chief@hospital.example"]


def test_a_withdrawal_of_what_never_left_is_not_sent(tmp_path: Path) -> None:
    scenario = BY_NAME["cancelled after the alert"]
    node = site(tmp_path, scenario)
    node.decide_after(scenario.steps[:3])
    for message_id in node.records.waiting():
        assert node.alerting.attempt(message_id)
    states = [record.state for record in node.records.since(0.0)]
    assert states == [MessageState.SUPERSEDED, MessageState.NOT_NEEDED]


def test_a_withdrawal_of_what_may_have_left_is_sent(tmp_path: Path) -> None:
    scenario = BY_NAME["cancelled after the alert"]
    node = site(tmp_path, scenario, smtp_port=free_port(), smtp_security="none", timeout_s=1.0)
    node.decide_after(scenario.steps[:2])
    (first,) = node.records.waiting()
    assert not node.alerting.attempt(first), "nobody listens"
    node.apply(scenario.steps[2])
    node.decide()
    assert node.alerting.attempt(first)
    (_, second) = node.records.waiting()
    ready = node.alerting.to_send(second)
    assert ready.channel is not None
    assert ready.alert.kind == "withdrawal"


def test_a_receiver_in_an_old_section_its_entry_and_without_either(tmp_path: Path) -> None:
    """A site of version 0.1.0 moves its section to an entry, and nobody is alerted again; then it removes the receiver."""
    scenario = BY_NAME["moved to another day"]
    head = (
        f'state_dir = "{tmp_path / "state"}"\n[alert]\ntime_zone = "Europe/Berlin"\n[plans]\ntime_zone = "Europe/Berlin"\n'
    )
    of_hl7, other = 'host = "localhost"\nport = 1\nsecurity = "none"\n', '[[alert_receivers]]\nkind = "hl7"\nname = "{}"\n'

    def node_with(text: str) -> Site:
        config = tmp_path / "bmd-node.toml"
        config.write_text(head + text)
        return Site(load_settings(config), scenario.steps[1].when)

    before = node_with(f"[alert_hl7]\n{of_hl7}")
    before.decide_after(scenario.steps[:2])
    (first,) = before.records.since(0.0)
    assert (first.message.channel, first.message.recipient) == ("hl7", "")
    assert not before.alerting.attempt(first.message.message_id), "nobody listens"
    after = node_with(f"{other.format('hl7')}{of_hl7}")
    assert after.decide() == ["already_told"]
    assert after.alerting.to_send(first.message.message_id).channel is not None
    without = node_with(f"{other.format('east')}{of_hl7}")
    assert without.alerting.attempt(first.message.message_id), "that was the last attempt"
    ended = without.records.message(first.message.message_id)
    assert (ended.state, ended.answer) == (MessageState.REJECTED, "the channel is no longer switched on")
    assert without.decide() == ["send east osteoporosis"]


class _Inbox(Handler):
    def __init__(self) -> None:
        super().__init__()
        self.mails: list[str] = []

    def handle_message(self, message: EmailMessage) -> None:
        self.mails.append(message.get_payload(decode=True).decode() + message["Subject"])


def test_the_surgeon_reads_that_the_appointment_is_no_longer_on_the_server(tmp_path: Path) -> None:
    """From a FHIR server over HTTP to the text of a correction, by the ways of intake and worker."""
    server = FhirServer()
    try:
        token = tmp_path / "token"
        token.write_text(TOKEN)
        fhir = {"base_url": server.base_url, "token_file": str(token), "resources": ["Appointment"]}
        node = site(tmp_path, BY_NAME["operation planned first, result later"], plans_fhir=fhir)
        search = FhirSearch(node.settings)
        server.put(
            {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "KIS", "value": "4711"}]}
            | {"name": [{"family": "Müller", "given": ["Anna"]}], "birthDate": "1950-04-01", "gender": "female"}
        )
        server.put(
            {"resourceType": "Appointment", "id": "a1", "status": "booked", "description": "PLIF L4/5"}
            | {"start": "2030-02-10T08:00:00+01:00", "end": "2030-02-10T11:00:00+01:00"}
            | {"participant": [{"actor": {"reference": "Patient/p1"}, "status": "accepted"}]}
        )
        search.look()
        node.apply(Step("2030-01-02 10:00", (), result="A", bmd=74.0))
        assert node.decide() == ["send team osteoporosis"]
        node.deliver()
        server.delete("Appointment/a1", remembers=True)
        assert search.verify() == 1
        assert node.decide() == ["correct team operation_vanished"]
    finally:
        server.stop()
    _, record = node.records.since(0.0)
    alert = TypeAdapter(Alert).validate_json(record.message.alert)
    assert node.alerting.text_of(alert).startswith(
        "Correction: Mean BMD 74 mg/cm3 (osteoporosis range); spine surgery no longer found. Accession ACC-A\n\n"
        "Correction of an earlier alert: the operation is no longer found on the\nhospital's FHIR server.\n\n"
    )


def test_a_mail_leaves_by_the_stores(tmp_path: Path) -> None:
    inbox, port = _Inbox(), free_port()
    smtp = Controller(inbox, hostname="127.0.0.1", port=port)
    smtp.start()
    try:
        scenario = BY_NAME["result first, operation planned three weeks later"]
        node = site(tmp_path, scenario, smtp_port=port, smtp_security="none", acknowledge_url="https://node.example/bmd/")
        node.decide_after(scenario.steps[:2])
        (message_id,) = node.records.waiting()
        assert node.alerting.attempt(message_id)
    finally:
        smtp.stop()
    (mail,) = inbox.mails
    record = node.records.message(message_id)
    assert (record.state, record.attempts) == (MessageState.TAKEN, 1)
    assert "accepted by mail server localhost" in record.answer
    assert f"https://node.example/bmd/alerts/acknowledge?id={record.message.alert_id}&signature=" in mail
    assert "spine surgery on 2030-02-10" in mail
    assert "4711" not in record.message.alert.replace(record.message.study_instance_uid, ""), "no patient data in the record"
    assert "Müller" not in record.message.alert


def config_of(folder: Path, node: Site, *, is_on: bool = False) -> Path:
    path = folder / "bmd-node.toml"
    path.write_text(
        f'state_dir = "{node.settings.state_dir}"\n[alert]\nrecipients = ["team@hospital.example"]\n'
        'smtp_host = "localhost"\nsender = "node@hospital.example"\n'
        '[[alert_receivers]]\nkind = "hl7"\nname = "chief"\nstage = "second"\nhost = "localhost"\n'
        if is_on
        else f'state_dir = "{node.settings.state_dir}"\n[alert]\nrecipients = ["team@hospital.example"]\n'
    )
    return path


def run(config: Path, *args: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["alerts", *args, "--config", str(config)])
    return done.exit_code, done.output


def test_list_and_acknowledge(tmp_path: Path) -> None:
    scenario = BY_NAME["not acknowledged in time"]
    node = site(tmp_path / "state", scenario)
    for step in scenario.steps[:2]:
        node.apply(step)
        node.decide()
        node.deliver()
    config = config_of(tmp_path, node)
    (record,) = node.records.since(0.0)
    code, listed = run(config, "list", "--open")
    assert code == 0
    assert record.message.alert_id in listed
    assert "to mail team@hospital.example; study 1.2.3.65; taken, attempt 1: 250 OK" in listed
    assert run(config, "acknowledge", record.message.alert_id)[0] == 0
    assert run(config, "acknowledge", "nosuch")[0] == 1
    assert run(config, "list", "--open") == (0, "no alert\n")
    assert "acknowledged" in run(config, "list")[1]
    node.now = scenario.steps[3].when
    assert node.decide() == ["already_told"], "nothing is escalated"


def test_dry_run_says_what_would_have_been_sent_and_why_not(tmp_path: Path) -> None:
    """Nothing was on: the past is gone through, with plans that moved and ended, and nothing is kept of it."""
    scenario = BY_NAME["moved to another day"]
    node = site(tmp_path / "state", scenario)
    for step in scenario.steps:
        node.apply(step)
    other = BY_NAME["another operation"]
    node.apply(other.steps[0])
    config = config_of(tmp_path, node)
    code, told = run(config, "dry-run", "--since", "2030-01-01", "--show")
    assert code == 0, told
    assert not node.records.since(0.0)
    lines = told.splitlines()
    assert lines[0] == "no channel is switched on; shown as if mail were switched on"
    assert lines[1] == "alerted if nobody acknowledges within 24 h: nobody"
    assert lines[2].startswith("patient ")


def test_dry_run_of_a_past_that_has_been(tmp_path: Path) -> None:
    scenario = BY_NAME["moved to another day"]
    node = site(tmp_path / "state", scenario)
    # 30 years earlier: by now all of it is over
    past = dt.timedelta(days=-365 * 30)
    for step in scenario.steps[:3]:
        earlier = Step(
            **{name: getattr(step, name) for name in Step.__dataclass_fields__ if name not in ("at", "starts", "date")},
            at=f"{step.when + past:%Y-%m-%d %H:%M}",
            starts=f"{dt.datetime.fromisoformat(step.starts) + past:%Y-%m-%d %H:%M}" if step.starts else "",
            date=step.date + past,
        )
        node.apply(earlier)
    config = config_of(tmp_path, node)
    code, told = run(config, "dry-run", "--since", "1999-12-01", "--show")
    assert code == 0, told
    lines = [line.strip() for line in told.splitlines()]
    assert any(
        "send to mail team@hospital.example: rules that apply: osteoporosis; mean BMD 74.0 mg/cm3" in line for line in lines
    )
    assert any("correct to mail team@hospital.example: the date of the operation has changed" in line for line in lines)
    assert any(line.startswith("Correction: Mean BMD 74 mg/cm3") for line in lines)
    assert lines[-1].startswith("2 messages would have been sent; ")
    code, told = run(config_of(tmp_path, node, is_on=True), "dry-run", "--since", "1999-12-01", "--unacknowledged")
    assert (code, told.splitlines()[0]) == (0, "alerted if nobody acknowledges within 24 h: chief")
    assert "escalate to chief: nobody has acknowledged the alert in time [not_acknowledged; operation " in told
    assert told.splitlines()[-1].startswith("3 messages would have been sent; ")
