"""What the surgeon reads."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from node.alerts import AlertKind, Message, Operation
from node.alerts.values import FoundWord
from node.clinical.imaging_order import OrderText, order_text
from node.clinical.planned_operation import PlanSource
from node.language.catalogue import Language
from node.language.phrase import Phrase, joined, phrase
from node.measure.fracture import HeightLoss
from node.model import FractureKind, Reason, StudyResult
from node.settings.alert import AlertSettings
from tests.alerts.alert_inputs import STUDY, alert_of, bmd_of, decided, message, order, result, settings


def alert(
    found: StudyResult | None = None, ordered: OrderText | None = None, chosen: AlertSettings | None = None
) -> Message:
    return message(alert_of(found, ordered, chosen), chosen)


def words(text: str) -> str:
    """Without line breaks."""
    return " ".join(text.split())


def test_the_whole_text() -> None:
    chosen = settings(link_template="https://pacs.example/v?study={study_instance_uid}&acc={accession_number}")
    sent = alert(chosen=chosen)
    assert sent.subject == (
        "Vertebral fracture L3. Mean BMD 74 mg/cm3 (severe osteoporosis range); spine surgery planned? Accession A-4711"
    )
    assert sent.text == EXPECTED.replace("ALERT_ID", alert_of().id)


#: How every message about a fracture begins, whatever the BMD.
FRACTURE = "Vertebral fracture L3. A fragility fracture means osteoporosis clinically, at any BMD. "
EXPECTED = """\
Vertebral fracture L3. A fragility fracture means osteoporosis clinically,
at any BMD. Mean BMD L1, L2, L4: 74 mg/cm3, below 80, with a fracture:
severe osteoporosis range (ACR). Interval 66 to 82 mg/cm3. Below 81.8
mg/cm3, the study's cut-off for screw loosening.

Planned operation: the imaging order contains "PLIF" (study description).
The planned operation is inferred from the imaging order only; its date,
levels and surgeon are not known.

Levels
- L1: 71 mg/cm3
- L2: 77 mg/cm3
- L3: not used: height loss of 31 %
- L4: 74 mg/cm3

Evidence
In one retrospective study of 46 patients with semi-rigid instrumentation
(23 with screw loosening, 23 without), BMD below 81.8 mg/cm3 best separated
screw loosening: AUC 0.769, 95 % CI 0.634 to 0.905. According to the counts
in the article, the sensitivity is 56.5 % and the specificity 91.3 %; the
article prints them the other way round.
This is weak evidence: few patients, one scanner, cases matched with
controls, and a cut-off chosen and tested on the same patients. It gives no
risk for a single patient and says nothing about rigid constructs.
Source: Löffler MT et al., Front Endocrinol 2021;11:552719.

Options named in the literature
- cement-augmented screws
- a longer construct
- antiresorptive treatment
- DXA or QCT to confirm

Doubts about the result
- the names of the levels are in doubt
- the header records a contrast agent: BMD may read too high
- contrast phase unknown; contrast medium raises measured BMD

Accession number: A-4711
Images: https://pacs.example/v?study=1.2.276.0.7230010.3.1.2.4711&acc=A-4711

Screening estimate; the decision is the surgeon's. ACR categories apply to
post-menopausal women and older men.

Alert ALERT_ID, message 1
A repeat of this message has the same numbers.
"""


@pytest.mark.parametrize(
    ("bmd", "start"),
    [
        (74.2, "Mean BMD L1, L2, L4: 74 mg/cm3, {severe} Interval 66 to 82 mg/cm3. Below 81.8"),
        (79.97, "Mean BMD L1, L2, L4: 79.97 mg/cm3, {severe}"),
        (79.9734567, "Mean BMD L1, L2, L4: 79.97 mg/cm3, {severe}"),
        (80.3, "Mean BMD L1, L2, L4: 80.3 mg/cm3, 80 to 120: low bone mass range (ACR)."),
        (80.0, "Mean BMD L1, L2, L4: 80 mg/cm3, 80 to 120: low bone mass range (ACR)."),
        (
            81.7,
            "Mean BMD L1, L2, L4: 81.7 mg/cm3, 80 to 120: low bone mass range (ACR). Interval 74 to 90 mg/cm3. Below 81.8",
        ),
        (
            81.9,
            "Mean BMD L1, L2, L4: 82 mg/cm3, 80 to 120: low bone mass range (ACR). Interval 74 to 90 mg/cm3. Not below 81.8",
        ),
        (119.9, "Mean BMD L1, L2, L4: 119.9 mg/cm3, 80 to 120: low bone mass range (ACR)."),
    ],
)
def test_the_conclusion_comes_first_and_rounding_does_not_contradict_it(bmd: float, start: str) -> None:
    said = words(alert(result(bmd)).text)
    assert said.startswith(
        FRACTURE + start.replace("{severe}", "below 80, with a fracture: severe osteoporosis range (ACR).")
    )


def test_a_borderline_category_is_said_with_the_interval_that_shows_it() -> None:
    near = replace(result(87.9), bmd=replace(bmd_of(87.9), thresholds_crossed_mg_cm3=(80.0,)))
    assert "Borderline: interval 79.9 to 96 mg/cm3" in words(alert(near).text)
    assert "orderline" not in alert(result(87.9)).text


def test_levels_of_the_mean() -> None:
    levels = result().levels
    run = replace(result(), levels=tuple(replace(level, usable=True) for level in levels))
    assert alert(run).text.replace("\n", " ").startswith(FRACTURE + "Mean BMD L1-L4: 74")
    assert alert(replace(result(), levels=levels[1:3])).text.replace("\n", " ").startswith(FRACTURE + "Mean BMD L2 only: 74")
    assert "- L1: not found in the image\n- L4: not found in the image" in alert(replace(result(), levels=levels[1:3])).text


def test_the_sites_own_limit_is_named_as_such() -> None:
    text = words(alert(result(130.0), chosen=settings(bmd_below_mg_cm3=140)).text)
    assert "above 120: normal range (ACR)" in text
    assert "Below 140 mg/cm3, the limit that this site has set." in text
    assert "Not below 81.8 mg/cm3" in text


@pytest.mark.parametrize(
    ("template", "accession", "line"),
    [
        ("", "A1", "Images: this site has not configured a link"),
        ("https://v.example/{accession_number}", None, "Images: no link: the image headers have no accession number"),
        ("https://v.example/{accession_number}", "A/1&x=2", "Images: https://v.example/A%2F1%26x%3D2"),
        ("https://v.example/{study_instance_uid}", None, f"Images: https://v.example/{STUDY}"),
        (
            "https://v.example/{accession_number}",
            "{study_instance_uid}",
            "Images: https://v.example/%7Bstudy_instance_uid%7D",
        ),
    ],
)
def test_link(template: str, accession: str | None, line: str) -> None:
    sent = alert(ordered=order(accession_number=accession), chosen=settings(link_template=template))
    assert line in sent.text.splitlines()


def test_an_accession_number_cannot_add_lines() -> None:
    sent = alert(ordered=order(accession_number="A1\r\nBcc: x@y.example\x00"))
    assert sent.subject.endswith("Accession A1 Bcc: x@y.example")
    assert "Accession number: A1 Bcc: x@y.example" in sent.text.splitlines()


def test_what_people_write_into_an_order_stays_out() -> None:
    planted = "Musterfrau, Erika *1948-03-02 PID-998877 PLIF L4/5 Tel. 555"
    ordered = order(
        planted,
        requested_procedure_description=planted,
        scheduled_procedure_descriptions=(planted,),
        performed_procedure_description=planted,
        reason_for_requested_procedure=planted,
    )
    sent = alert(ordered=ordered)
    everything = f"{sent.subject}\n{sent.text}\n{sent!r}"
    for secret in ("Musterfrau", "Erika", "1948", "998877", "555", "L4/5"):
        assert secret not in everything
    # the text of such an order is that of an order with the bare word: nothing else of it gets in
    assert sent == alert(ordered=order("PLIF", reason_for_requested_procedure="PLIF"))


def header(**tags: str) -> OrderText:
    ds = Dataset()
    ds.StudyInstanceUID, ds.PatientName = STUDY, "Musterfrau^Erika"
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return order_text(ds)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({}, ""),
        ({"ReferringPhysicianName": "Hausarzt^Hans^^Dr."}, "referred by Dr. Hans Hausarzt (Referring Physician)"),
        (
            {"RequestingPhysician": "Zuweiser^Ida", "ReferringPhysicianName": "Hausarzt^Hans"},
            "requested by Ida Zuweiser (Requesting Physician)",
        ),
        ({"ReferringPhysicianName": "Musterfrau^Erika"}, ""),  # the patient, by mistake
        ({"RequestedProcedureDescription": "CT LWS\r\nvor PLIF"}, 'requested procedure "CT LWS vor PLIF"'),
    ],
)
def test_who_asked_is_said_apart_from_the_text_and_marked_as_weak(tags: dict[str, str], said: str) -> None:
    asked = header(**tags)
    sent = message(alert_of(), ordered=asked)
    assert sent.text == alert().text, "the text itself names nobody"
    assert not said or sent.of_header.startswith(f"From the image headers, the least reliable source: {said}. ")
    assert bool(sent.of_header) is bool(said)


def test_whoever_asked_is_told_of_nothing_for_having_asked() -> None:
    """Also where the site knows an address for somebody of this name or number."""
    ordered = replace(header(ReferringPhysicianName="17", RequestingPhysician="17"), study_description="PLIF")
    chosen = settings(surgeons={"17": "petra@hospital.example"}, recipients=("team@hospital.example",))
    alerts = decided(result(), ordered, chosen)
    assert isinstance(alerts, tuple)
    assert [one.recipient.address for one in alerts] == ["team@hospital.example"]


PLANNED = Operation(
    id="hl7_siu>KIS>OP1",
    source=PlanSource.HL7_SIU,
    active=True,
    starts=dt.datetime(2026, 2, 10, 7, tzinfo=dt.UTC),
    found=FoundWord("5-836", phrase("procedure code")),
    levels=("L3", "L4", "L5", "S1"),
)


def of_plan(language: Language, **changes: object) -> Message:
    return message(replace(alert_of(), operation=PLANNED, **changes), language=language)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("language", "subject", "second"),
    [
        (
            Language.EN,
            "Vertebral fracture L3. Mean BMD 74 mg/cm3 (severe osteoporosis range); spine surgery on 2026-02-10. "
            "Accession A-4711",
            "Planned levels: L3: no BMD; L4: 74 mg/cm3, below 80; L5, S1: not measured (only L1 to L4 are measured).",
        ),
        (
            Language.DE,
            "Wirbelkörperfraktur L3. Mittlere BMD 74 mg/cm3 (Bereich der schweren Osteoporose); Wirbelsäulenoperation am "
            "10.02.2026. Accession A-4711",
            "Geplante Etagen: L3: keine BMD; L4: 74 mg/cm3, unter 80; "
            "L5, S1: nicht gemessen (nur L1 bis L4 werden gemessen).",
        ),
    ],
)
def test_the_levels_of_the_construct_stand_right_behind_the_conclusion(
    language: Language, subject: str, second: str
) -> None:
    sent = of_plan(language)
    assert sent.subject == subject
    assert words(sent.text.split("\n\n")[1]) == second


def test_an_operation_that_vanished_is_said_first_and_what_to_do() -> None:
    why = Reason("operation_vanished", phrase("the operation is no longer found on the hospital's FHIR server"))
    gone = replace(PLANNED, source=PlanSource.FHIR, vanished=True)
    sent = message(replace(alert_of(), operation=gone, kind=AlertKind.CORRECTION, revision=2, because=why))
    assert sent.subject.startswith(
        "Correction: Vertebral fracture L3. Mean BMD 74 mg/cm3 (severe osteoporosis range); spine surgery no"
    )
    first, second, *_ = sent.text.split("\n\n")
    assert words(first) == f"Correction of an earlier alert: {why.detail}."
    assert words(second).startswith(FRACTURE + "Mean BMD L1, L2, L4: 74 mg/cm3, below 80"), "the bone is as weak as before"
    assert "please check whether it is still planned" in words(sent.text)


@pytest.mark.parametrize(
    ("wrong", "second"),
    [
        (True, "Please disregard the values of the earlier alert."),
        (False, "The measurement itself is not withdrawn; its report stays in the PACS."),
    ],
)
def test_a_withdrawal_says_what_it_is_about_and_what_still_holds(wrong: bool, second: str) -> None:
    sent = of_plan(Language.EN, kind=AlertKind.WITHDRAWAL, revision=2, because=Reason("x", "why"), wrong=wrong)
    assert sent.subject == "Withdrawn: alert before spine surgery on 2026-02-10. Accession A-4711"
    assert [words(part) for part in sent.text.split("\n\n")[:2]] == ["Withdrawal of an earlier alert: why.", second]
    assert "mg/cm3" not in sent.text, "no value that somebody could go on with"


def test_fractures_lead_with_their_grades_at_any_bmd() -> None:
    def loss(grade: int) -> Phrase:
        return HeightLoss(FractureKind.CRUSH, 0.3, grade, phrase("compared with its neighbours")).said

    each = joined((joined(pair, " ") for pair in (("T12", loss(1)), ("L3", loss(3)))), "; ")
    seen = Reason("fracture", phrase("{each}. A fragility fracture matters at any BMD.", each=each))
    healthy = replace(result(130.0), reasons=(*result(130.0).reasons, seen))
    chosen = settings(fracture=True)
    sent = alert(healthy, chosen=chosen)
    assert sent.subject.startswith(
        "Vertebral fractures: L3 grade 3 (severe), T12 grade 1 (mild). Mean BMD 130 mg/cm3 (normal range); "
    )
    assert "above 120: normal range (ACR)" in words(sent.text)
    assert words(sent.text).startswith("Vertebral fractures: L3 grade 3 (severe), T12 grade 1 (mild). A fragility fracture")
