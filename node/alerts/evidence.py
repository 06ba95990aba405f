"""Fixed text of every alert: what the evidence says, how weak it is, and the options named in the literature.

Sensitivity and specificity are those that match the article's own counts: 13 of 23 cases, 21 of 23 controls.
"""

from __future__ import annotations

from node.language.phrase import Phrase, phrase

EVIDENCE: tuple[Phrase, ...] = (
    phrase(
        "In one retrospective study of 46 patients with semi-rigid instrumentation (23 with screw loosening, 23 without), "
        "BMD below 81.8 mg/cm3 best separated screw loosening: AUC 0.769, 95 % CI 0.634 to 0.905. According to the counts "
        "in the article, the sensitivity is 56.5 % and the specificity 91.3 %; the article prints them the other way round."
    ),
    phrase(
        "This is weak evidence: few patients, one scanner, cases matched with controls, and a cut-off chosen and tested on "
        "the same patients. It gives no risk for a single patient and says nothing about rigid constructs."
    ),
    phrase("Source: Löffler MT et al., Front Endocrinol 2021;11:552719."),
)
OPTIONS: tuple[Phrase, ...] = (
    phrase("cement-augmented screws"),
    phrase("a longer construct"),
    phrase("antiresorptive treatment"),
    phrase("DXA or QCT to confirm"),
)
