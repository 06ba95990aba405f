"""Which part of the body a header names. It only decides which series is tried first: headers are often wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass

from node.language.phrase import Phrase, phrase
from node.select.headers import FrameHeader

#: Words that name the lower trunk, in the languages and abbreviations that were seen; ``LWS`` is German for lumbar spine,
#: ``TAP`` and ``CAP`` are thorax or chest, abdomen and pelvis. Parts of words, because names are joined (CHESTABDPELV).
_LOWER_TRUNK = re.compile(
    r"abd|addome|bauch|buik|vientre|pelv|becken|bacino|bekken|lumb|lomb|lende|sacr|sakr|iliac|\bilio|hueft|hüft|\bhips?\b"
    r"|spin(e|al)|wirbel|rachis|colonna|columna|\b(lws|gws|kreuzbein|isg|l ?s ?spine)\b"
    r"|\b(tap|cap|tnap|ctap|ctcap|cha?bp?|ap|a p|wb|kub|tab|abdo\w*)\b"
    r"|whole ?body|gan[zs] ?k(ö|oe)rper|corps entier|trunk|rumpf|polytrauma|trauma ?(scan|spirale?)|\bpet"
    r"|pancrea|pankrea|liver|leber|hepat|\bfoie\b|gall|bili(ary|är)|splen|spleen|milz|kidney|niere|renal|ren(e|i)s?\b|\brein"
    r"|uro(gra|lo)|uret|adrenal|bladder|blase|prostat|\buter|ovar|colon|kolon|bowel|darm|\benter(o|ic)|appendi|stomach|magen"
    r"|gastr|duod|rectum|rektum|stone|stein|aaa\b|groin|leiste|retroperit",
    re.IGNORECASE,
)
#: Taken out before the lower trunk is looked for: parts of the spine that are not lumbar.
_UPPER_SPINE = re.compile(
    r"\b(c(ervical)? ?spine|cspine|hws|hals ?wirbel\w*|rachis cervical|t(horacic)? ?spine|tspine|bws|brust ?wirbel\w*)\b",
    re.IGNORECASE,
)
_CHEST = re.compile(
    r"chest|thora[xck]|torax|torac|lung|\b(pulm\w*|poumon\w*|hrct|heart|herz|cardiac|card\w*|coronar\w*|koronar\w*|rib|ribs"
    r"|breast|mamma|esoph\w*|oesoph\w*|pe protocol|ctpa|lae|bws|t ?spine)\b",
    re.IGNORECASE,
)
_HEAD_OR_LIMB = re.compile(
    r"\b(head|kopf|brain|cerebr\w*|skull|sch(ä|ae)del|neck|hals|hws|c ?spine|face|facial|sinus\w*|nnh|orbits?|ears?|iac"
    r"|felsenbein\w*|jaws?|dental|knees?|knie|ankles?|osg|foot|feet|fu(ß|ss)|hands?|wrists?|handgelenk\w*|elbows?|shoulders?"
    r"|schulter\w*|extremity|leg|legs|arm|arms|femur|tibia)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class BodyPart:
    """What a header names.

    Attributes:
        rank: 0 the lower trunk or nothing, 1 the chest, 2 the head or a limb.
        said: a sentence for the ranks above 0.
    """

    rank: int
    said: Phrase | None = None


def body_part(frame: FrameHeader) -> BodyPart:
    """What the header of a frame names: Body Part Examined, Series Description and Protocol Name, else the study.

    The study's description counts where the series has no description of its own that names the chest: Body Part Examined
    is often that of the scanner's preset.
    """
    series = _plain(f"{frame.body_part_examined or ''} {frame.series_description or ''}")
    if _LOWER_TRUNK.search(_UPPER_SPINE.sub(" ", series)):
        return BodyPart(0)
    around = _plain(f"{frame.protocol_name or ''} {frame.study_description or ''}")
    around_is_lower = _LOWER_TRUNK.search(_UPPER_SPINE.sub(" ", around)) is not None
    own = _plain(frame.series_description or "")
    if around_is_lower and not (_CHEST.search(own) or _HEAD_OR_LIMB.search(own)):
        return BodyPart(0)
    if _CHEST.search(series):
        if around_is_lower:
            return BodyPart(1, phrase("the description of the series names only the chest"))
        return BodyPart(1, phrase("the header names only the chest"))
    if _HEAD_OR_LIMB.search(series):
        return BodyPart(2, phrase("the header names the head or a limb"))
    return BodyPart(0)


def _plain(text: str) -> str:
    """Words separated by blanks only: headers join them with ``_``, ``-``, ``/``, ``+``, ``&`` and commas."""
    return " ".join(re.sub(r"[_\-/+&,;.()^]", " ", text).split())
