"""Merged patient numbers: results and alerts of the prior number are found under the surviving one."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from node.alerts.service import AlertService
from node.clinical.identity import Issuers, PatientIdentifier
from node.records.patient_key import PatientKeys
from node.records.patient_merges import Merge, PatientMerges
from node.records.prior_results import PriorRecords
from node.settings.tree import Settings

log = logging.getLogger(__name__)


class MergedPatients:
    """Follows merges. Every call is idempotent, and repeats what a kill has interrupted."""

    def __init__(self, settings: Settings, alerting: AlertService) -> None:
        """Open the records.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        plans = settings.plans
        self._issuers = Issuers(plans.issuers, plans.default_issuer)
        self._spellings = {"", plans.default_issuer, *(name for group in plans.issuers for name in group)}
        self._alerting = alerting
        self._merges = PatientMerges.open(settings)
        self._priors = PriorRecords.open(settings)
        self._keys = PatientKeys.open(settings)

    def key(self, issuer: str | None, patient_id: str | None) -> str | None:
        """Key of a patient for prior results (:mod:`node.records.patient_key`): that of the surviving number."""
        number = PatientIdentifier((patient_id or "").strip(), (issuer or "").strip())
        return self._keys.key(issuer, self._merges.surviving(number, self._issuers).value)

    def follow(self) -> None:
        """Follow the merges that have come."""
        self._follow(self._merges.merges(only_new=True))

    def follow_all(self) -> None:
        """Follow all merges again: a result may have been recorded at the very moment of a merge."""
        self._follow(self._merges.merges())

    def _follow(self, merges: Iterable[Merge]) -> None:
        for merge in merges:
            surviving = self._merges.surviving(merge.prior, self._issuers).value
            n_results = sum(self._rename(merge.prior, issuer, surviving) for issuer in self._written(merge))
            if n_results:
                log.info("%d earlier results of a merged patient are found under the surviving number", n_results)
            self._alerting.follow(merge)
            self._merges.mark_followed([merge])

    def _rename(self, prior: PatientIdentifier, issuer: str, surviving: str) -> int:
        old, new = self._keys.key(issuer, prior.value), self._keys.key(issuer, surviving)
        return 0 if old is None or new is None or old == new else self._priors.rename_patient(old, new)

    def _written(self, merge: Merge) -> list[str]:
        """The ways in which headers may write the issuer of the numbers: a key depends on it."""
        names = self._issuers.names_of(merge.prior)
        said = (merge.prior, merge.surviving)
        written = {*self._spellings, *(one.issuer for one in said), *(one.issuer_universal_id for one in said)}
        return sorted(one for one in written if names & self._issuers.names_of(PatientIdentifier("", one)))
