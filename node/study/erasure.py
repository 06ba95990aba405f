"""Finds all that the node keeps of a patient, and removes it: ``bmd-node erase``.

The database knows patients by keyed digests only, so the patient is looked for where the number is in clear: in the headers
of received images, in the folders of runs, and in planned operations. A study whose valid images name the patient is the
patient's as a whole. Of a study that was corrected to another patient, only the runs and images that name this one go.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom

from node.clinical.agreement import plain_number
from node.clinical.identity import Issuers, PatientIdentifier, PatientIdentity, identity_of
from node.common.errors import InputError
from node.records.erasure import Erasure, Rows, StoredImage
from node.records.patient_key import PatientKeys
from node.records.patient_merges import PatientMerges
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations, PlansOfPatient
from node.settings.tree import Settings
from node.study.run_folder import folder_of, load_identity

_TAGS = ["PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence"]
#: A shorter number is found in messages of other patients as well, as a sequence number or a room.
_MIN_WORD = 4


@dataclass(frozen=True, slots=True)
class Found:
    """What is kept of a patient.

    Attributes:
        studies: Study Instance UIDs; everything about these studies goes.
        mixed: those of them whose valid images name other patients, too.
        single_runs: runs of studies that are another patient's now.
        images: files of all these, also second contents.
        folders: folders of runs.
        rows: rows in the database, by table, without those of plans.
        plans: planned operations, and statements about operations of others that once named the patient.
        merged: numbers that were merged with that of the patient; what is theirs is part of all this.
        refused: names of refused messages that have the number in them.
        is_refused_searched: whether refused messages were searched at all; a short number is not looked for.
        n_unreadable: received files and folders that do not say whose they are.
    """

    studies: tuple[str, ...]
    mixed: tuple[str, ...]
    single_runs: tuple[str, ...]
    images: tuple[StoredImage, ...]
    folders: tuple[Path, ...]
    rows: Rows
    plans: PlansOfPatient
    merged: tuple[PatientIdentifier, ...]
    refused: tuple[str, ...]
    is_refused_searched: bool
    n_unreadable: int

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is kept."""
        of_plans = self.plans.operations or self.plans.statements or self.plans.changes
        return not (self.rows.n_rows or self.images or self.folders or of_plans or self.merged or self.refused)


class PatientErasure:
    """Looks for one patient, and removes what it has found."""

    def __init__(self, settings: Settings, patient_id: str, issuers: Collection[str] | None) -> None:
        """Take the number of the patient.

        Args:
            settings: settings of the node.
            patient_id: Patient ID (0010,0020).
            issuers: whose number it is; an empty text means: where no issuer is named. ``None``: any, as long as all that is
                found has one.

        Raises:
            ConfigurationError: the database cannot be opened.
            InputError: there is no number.
        """
        self._settings = settings
        self._state_dir = settings.state_dir.absolute()
        self._issuers = Issuers(settings.plans.issuers, settings.plans.default_issuer)
        self._number = patient_id.strip()
        if not self._number:
            raise InputError("the patient ID is empty")
        self._wanted = None if issuers is None else [self._names(PatientIdentifier(self._number, one)) for one in issuers]
        self._merged: tuple[PatientIdentifier, ...] = ()
        self._numbers = {self._number}
        self._seen: set[frozenset[str]] = set()
        self._written: set[str] = set(issuers or ())
        self._rows = Erasure.open(settings)
        self._keys = PatientKeys.open(settings)
        self._plans = PlannedOperations.open(settings)
        self._refusals = PlanRefusals.open(settings)
        self._merges = PatientMerges.open(settings)

    def find(self, more_studies: Collection[str] = ()) -> Found:
        """Look for everything; changes nothing.

        Args:
            more_studies: Study Instance UIDs that are known to be the patient's.

        Raises:
            InputError: without ``issuers``, numbers of several issuers were found; or the images of one of ``more_studies``
                name another patient.
        """
        self._merged = self._merged_numbers()
        images = self._rows.images()
        images = (*images, *self._unrecorded({one.path for one in images}))
        mine_of, others_of, second, n_unreadable = self._look_at(images)
        runs = self._rows.runs()
        folder_names = {folder_of(self._state_dir, run.run_id).name: run.run_id for run in runs}
        of_run, orphans, n_unknown = self._look_into_folders(folder_names)
        plans = self._plans.of_patient(self._is_mine)
        for_comparison = self._kept_for_comparison()
        self._refuse_several_issuers()
        for run_id in for_comparison:
            of_run.setdefault(run_id, True)  # its folder is gone
        latest = {run.study_instance_uid: of_run[run.run_id] for run in runs if run.run_id in of_run}
        on_disk = {*mine_of, *others_of}
        strangers = sorted({*others_of}.intersection(more_studies) - {*mine_of})
        if strangers:
            raise InputError(f"the images of study {strangers[0]} here name another patient: it is not erased")
        studies = {*more_studies, *mine_of, *(uid for uid, mine in latest.items() if mine and uid not in on_disk)}
        study_of = {run.run_id: run.study_instance_uid for run in runs}
        mine_runs = {run_id for run_id, mine in of_run.items() if mine}
        single = {run_id for run_id in mine_runs if study_of.get(run_id, run_id.partition("-")[0]) not in studies}
        rows = self._rows.rows_of(studies, single)
        folders = [*orphans, *(folder_of(self._state_dir, run_id) for run_id in rows.run_ids)]
        numbers = [*self._numbers, *(one.value for one in self._merged)]
        is_long = all(len(number) >= _MIN_WORD for number in numbers)
        return Found(
            studies=tuple(sorted(studies)),
            mixed=tuple(sorted({*mine_of} & {*others_of})),
            single_runs=tuple(sorted(single)),
            images=tuple(one for one in images if one.study_instance_uid in studies or one in second),
            folders=tuple(sorted({folder for folder in folders if folder.is_dir()})),
            rows=rows,
            plans=plans,
            merged=self._merged,
            refused=self._refusals.naming(numbers) if is_long else (),
            is_refused_searched=is_long,
            n_unreadable=n_unreadable + n_unknown,
        )

    def erase(self, found: Found) -> Rows:
        """Remove what was found. After a crash in between, finding and erasing again completes it.

        Returns:
            The rows that were removed.

        Raises:
            OSError: a file cannot be removed.
        """
        started_s = time.time()
        self._rows.mark(found.studies, found.single_runs)
        own = {uid for folder in found.folders for uid in _objects_in(folder)}
        self._plans.erase(found.plans)
        second = [(one.sop_instance_uid, one.digest) for one in found.images if not one.is_valid]
        removed = self._rows.remove(found.studies, found.single_runs, own, second)
        # files last: they alone say whose they are, if this has to be repeated
        for image in found.images:
            (self._state_dir / image.path).unlink(missing_ok=True)
        self._remove_what_came(found.studies, started_s)
        self._remove_folders([*found.folders, *(folder_of(self._state_dir, run_id) for run_id in removed.run_ids)])
        self._refusals.erase(found.refused)
        self._merges.erase(found.merged, self._issuers)
        return removed

    def holders(self, found: Found) -> tuple[tuple[str, int], ...]:
        """Destinations that have stored objects of the patient, and how many."""
        return self._rows.holders(found.rows.run_ids)

    def told(self, found: Found) -> tuple[tuple[str, int], ...]:
        """Channels on which alerts were sent, and how many messages."""
        return self._rows.told(found.rows.message_ids)

    def _look_at(self, images: Iterable[StoredImage]) -> tuple[dict[str, int], dict[str, int], frozenset[StoredImage], int]:
        """By study, how many valid images are the patient's and how many are not; second contents that are; unreadable."""
        mine: dict[str, int] = defaultdict(int)
        others: dict[str, int] = defaultdict(int)
        second = set()
        n_unreadable = 0
        for one in images:
            identity = _identity_in_file(self._state_dir / one.path)
            if identity is None:
                n_unreadable += 1
            elif not one.is_valid:
                second |= {one} if self._is_mine(identity) else set()
            elif self._is_mine(identity):
                mine[one.study_instance_uid] += 1
            else:
                others[one.study_instance_uid] += 1
        return mine, others, frozenset(second), n_unreadable

    def _unrecorded(self, known: Collection[str]) -> Iterator[StoredImage]:
        """Received files without a row: a kill has left them, here or in the listener."""
        for file in sorted((self._state_dir / "received").glob("*/*.dcm")):
            path = str(file.relative_to(self._state_dir))
            uids = () if path in known else _uids_in(file)
            if len(uids) == 2:
                yield StoredImage(*uids, digest="", path=path, is_valid=True)

    def _look_into_folders(self, run_of: dict[str, str]) -> tuple[dict[str, bool], list[Path], int]:
        """Which runs are the patient's, as far as their folders say; folders of no run that are; how many do not say it."""
        of_run, orphans, n_unknown = {}, [], 0
        results = self._state_dir / "results"
        for folder in sorted(results.iterdir()) if results.is_dir() else ():
            identity = _identity_in_folder(folder)
            if identity is None:
                n_unknown += 1
            elif folder.name in run_of:
                of_run[run_of[folder.name]] = self._is_mine(identity)
            elif self._is_mine(identity):
                orphans.append(folder)
        return of_run, orphans, n_unknown

    def _is_mine(self, identity: PatientIdentity) -> bool:
        found = [self._is_number(one) for one in identity.identifiers]  # all of them, so that each issuer is noted
        return any(found)

    def _merged_numbers(self) -> tuple[PatientIdentifier, ...]:
        """Numbers that were merged with this one, as a message said: they are the patient's as well."""
        this = plain_number(self._number)
        sides = [one for merge in self._merges.merges() for one in (merge.prior, merge.surviving)]
        meant = [one for one in sides if plain_number(one.value) == this and self._is_number(one)]
        found = (number for one in meant for number in self._merges.all_numbers(one, self._issuers))
        return tuple(dict.fromkeys(one for one in found if plain_number(one.value) != this))

    def _is_number(self, identifier: PatientIdentifier) -> bool:
        number = plain_number(identifier.value)
        if number != plain_number(self._number):
            names = self._names(identifier)
            return any(plain_number(one.value) == number and self._names(one) & names for one in self._merged)
        names = self._names(identifier)
        self._seen.add(names)
        if self._wanted is not None and not any(names & one or names == one for one in self._wanted):
            return False
        self._written.add(identifier.issuer)
        self._numbers.add(identifier.value)
        return True

    def _names(self, identifier: PatientIdentifier) -> frozenset[str]:
        return self._issuers.names_of(identifier)

    def _refuse_several_issuers(self) -> None:
        if self._wanted is not None:
            return
        groups: list[frozenset[str]] = []
        for names in self._seen:
            near = [group for group in groups if group & names or group == names]
            groups = [group for group in groups if group not in near] + [names.union(*near)]
        if len(groups) > 1:
            said = ", ".join(sorted(" = ".join(sorted(group)) or '"" (none is named)' for group in groups))
            raise InputError(
                f"this patient ID has several issuers here: {said}. These may be different persons: name each that you mean "
                "with --issuer"
            )

    def _kept_for_comparison(self) -> frozenset[str]:
        """Runs whose results are kept under the keys of the numbers, in every way in which headers may write the issuer.

        Alerts are not asked: their keys do not tell issuers apart.
        """
        written = {"", *self._written, self._settings.plans.default_issuer}
        written |= {name for group in self._settings.plans.issuers for name in group}
        found: set[str] = set()
        for issuer in sorted(written):
            names = self._names(PatientIdentifier(self._number, issuer))
            if self._wanted is not None and not any(names & one or names == one for one in self._wanted):
                continue
            numbers = (*sorted(self._numbers), *(one.value for one in self._merged if self._names(one) & names))
            keys = [key for number in numbers if (key := self._keys.key(issuer, number)) is not None]
            run_ids = self._rows.kept_under(keys)
            if run_ids:
                self._seen.add(names)
            found |= run_ids
        return frozenset(found)

    def _remove_folders(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)  # a worker may be writing to it
            if folder.exists():
                shutil.rmtree(folder)

    def _remove_what_came(self, studies: Collection[str], before_s: float) -> None:
        """Remove files that were received while the study was erased and have no row; what came later is a new study."""
        known = self._rows.paths_of(studies)
        for uid in studies:
            folder = self._state_dir / "received" / hashlib.sha256(uid.encode("ascii")).hexdigest()[:32]
            for file in folder.iterdir() if folder.is_dir() else ():
                if str(file.relative_to(self._state_dir)) not in known and file.stat().st_mtime < before_s:
                    file.unlink(missing_ok=True)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _identity_in_file(path: Path) -> PatientIdentity | None:
    try:
        return identity_of(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*_TAGS, "SpecificCharacterSet"]))
    except Exception:  # noqa: BLE001 - pydicom raises many kinds, and their texts may quote values
        return None


def _identity_in_folder(folder: Path) -> PatientIdentity | None:
    """Who the patient of a run is, by the file that says it, or by the objects that were made."""
    try:
        return load_identity(folder)
    except InputError:
        found = (_identity_in_file(path) for path in sorted(folder.glob("*.dcm")))
        return next((identity for identity in found if identity is not None and identity.identifiers), None)


def _uids_in(path: Path) -> tuple[str, ...]:
    """Study and SOP Instance UID of a file; empty if it cannot be read."""
    tags = ["StudyInstanceUID", "SOPInstanceUID"]
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        return str(ds.StudyInstanceUID), str(ds.SOPInstanceUID)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds
        return ()


def _objects_in(folder: Path) -> Iterator[str]:
    """SOP Instance UIDs of the objects that a run made; a damaged one was never sent."""
    return (uids[1] for path in folder.glob("*.dcm") if (uids := _uids_in(path)))
