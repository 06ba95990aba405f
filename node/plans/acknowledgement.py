"""The answer to an HL7 v2 message (chapter 2, message acknowledgment): MSH, MSA, and ERR if it is refused.

Original mode: AA, AE or AR. If MSH-15 or MSH-16 requests enhanced mode: the accept acknowledgment (CA, CE, CR) requested by
MSH-15, otherwise the application acknowledgment requested by MSH-16, otherwise none.
"""

from __future__ import annotations

import datetime as dt
import uuid

from node.plans.hl7_message import Hl7Message, RefusedMessageError, control_id_of

_ALWAYS, _ON_ERROR, _ON_SUCCESS = "AL", "ER", "SU"
#: Versions in which the ERR segment has only ERR-1.
_OLD_ERR = ("2.3", "2.4")
_DEFAULT_VERSION = "2.5"


def acknowledgement(
    message: Hl7Message | None, content: bytes, refusal: RefusedMessageError | None, now: dt.datetime
) -> bytes | None:
    """The answer, without its frame; ``None`` if the sender requests none.

    Args:
        message: the parsed message; ``None`` if it could not be read.
        content: the received bytes, for the control ID of a message that could not be read.
        refusal: why it is refused; ``None`` if it is stored.
        now: time of the answer.
    """
    kind = _code(message, refusal)
    if kind is None:
        return None

    def said(field: int) -> str:
        raw = "" if message is None or len(message.msh.fields) <= field else message.msh.fields[field]
        return "".join(sign for sign in raw if sign.isprintable())  # a VT or FS would end the frame of the answer

    separators = "|^~\\&" if message is None else message.delimiters
    bar, component = separators[0], separators[1]
    control_id = control_id_of(content) if message is None else said(10)
    version = said(12) or _DEFAULT_VERSION
    # the message structure, MSH-9.3, came with version 2.3.1
    structure = [] if version == "2.3" or message is None else ["ACK"]
    event = component.join(["ACK", *said(9).split(component)[1:2], *structure])
    stamp = now.strftime("%Y%m%d%H%M%S%z")
    processing = said(11) or "P"
    msh = [
        "MSH",
        separators[1:],
        said(5),
        said(6),
        said(3),
        said(4),
        stamp,
        "",
        event,
        uuid.uuid4().hex[:20],
        processing,
        version,
    ]
    if message is not None and said(18):
        msh += ["", "", "", "", "", said(18)]
    segments = [bar.join(msh)]
    if refusal is None:
        segments.append(bar.join(["MSA", kind, control_id]))
    else:
        text = _escaped(str(refusal), separators)
        segments.append(bar.join(["MSA", kind, control_id, text]))
        segments.append(bar.join(_err(refusal, text, component, is_old=version.startswith(_OLD_ERR))))
    encoding = "ascii" if message is None else message.encoding
    return ("\r".join(segments) + "\r").encode(encoding, "replace")


def _code(message: Hl7Message | None, refusal: RefusedMessageError | None) -> str | None:
    letter = "A" if refusal is None else "R" if refusal.is_rejected else "E"
    accept, application = ("", "") if message is None else (message.msh.text(15), message.msh.text(16))
    if not accept and not application:
        return f"A{letter}"
    if _wants(accept, refusal):
        return f"C{letter}"
    return f"A{letter}" if _wants(application, refusal) else None


def _wants(condition: str, refusal: RefusedMessageError | None) -> bool:
    """HL7 table 0155, accept/application acknowledgment conditions."""
    return condition in (_ALWAYS, _ON_SUCCESS if refusal is None else _ON_ERROR)


def _err(refusal: RefusedMessageError, text: str, component: str, *, is_old: bool) -> list[str]:
    segment, _, field = refusal.location.partition("-")
    place = component.join([segment, "1", field] if field else [segment, "1"] if segment else [])
    if is_old:
        # ERR-1 (ELD): segment, sequence, field, code
        return ["ERR", component.join([segment, "1" if segment else "", field, refusal.code])]
    # ERR-2 location, ERR-3 code, ERR-4 severity, ERR-8 user message
    return ["ERR", "", place, component.join([refusal.code, "", "HL70357"]), "E", "", "", "", text]


def _escaped(text: str, separators: str) -> str:
    bar, component, repetition, escape, subcomponent = tuple(separators)
    names = {bar: "F", component: "S", repetition: "R", escape: "E", subcomponent: "T"}
    # what cannot be printed could end the frame or the segment
    return "".join(f"{escape}{names[sign]}{escape}" if sign in names else sign for sign in text if sign.isprintable())
