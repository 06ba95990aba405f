"""Results to compare later studies of the same patient with, under pseudonymous keys."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.model import ContrastPhase, Level
from node.records.database import Store, insert_or_keep, metadata
from node.records.erased import refuse_erased

_priors = sa.Table(
    "prior_results",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("patient_key", sa.String(64), nullable=False, index=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False),
    sa.Column("recorded_s", sa.Double, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    # the study turned out to be another patient's
    sa.Column("is_withdrawn", sa.Boolean, nullable=False, server_default=sa.false()),
    # what similar patients are found by; null in rows of earlier versions, and where it is not known
    sa.Column("patient_sex", sa.String(1)),
    sa.Column("patient_age_years", sa.Double),
    sa.Column("kvp", sa.Double),
    sa.Column("contrast_phase", sa.String(16)),
    sa.Column("l1_hu", sa.Double),
    sa.Index("ix_prior_results_similar", "patient_sex", "patient_age_years"),
)

#: Patients within this many years are of a similar age.
_SIMILAR_YEARS = 5.0


@dataclass(frozen=True, slots=True)
class LevelValue:
    """Mean attenuation of a usable level, and its BMD if there was an equation."""

    level: Level
    hu_mean: float
    bmd_mg_cm3: float | None


@dataclass(frozen=True, slots=True)
class UsedEquation:
    """The parts of an equation that decide whether two results can be compared."""

    id: str
    slope: float
    intercept: float
    material: str


@dataclass(frozen=True, slots=True)
class DatedResult:
    """The parts of a measured result that are needed to compare it with another one.

    Attributes:
        levels: levels that contribute to the mean, from the head downward.
        equation: ``None`` if there was none; then no level has a BMD.
        patient_age_years, patient_sex: ``None`` if not known beyond doubt, and in records of earlier versions.
    """

    study_instance_uid: str
    acquisition_date: dt.date
    manufacturer: str | None
    manufacturer_model_name: str | None
    device_serial_number: str | None
    station_name: str | None
    kvp: float | None
    convolution_kernel: str | None
    contrast_phase: ContrastPhase
    levels: tuple[LevelValue, ...]
    equation: UsedEquation | None
    patient_age_years: float | None = field(default=None, repr=False)
    patient_sex: str | None = field(default=None, repr=False)

    @property
    def l1_hu(self) -> float | None:
        """Attenuation of L1; ``None`` if it is not usable."""
        return next((level.hu_mean for level in self.levels if level.level is Level.L1), None)


_as_json = TypeAdapter(DatedResult)


class PriorRecords(Store):
    """The table of results; every call is one transaction and idempotent."""

    def keep(self, run_id: str, patient_key: str, result: DatedResult) -> None:
        """Keep the result of a run. A known run stays unchanged.

        Raises:
            ErasedError: the study was erased.
        """
        with self._engine.begin() as connection:
            refuse_erased(connection, run_id)
            insert_or_keep(
                connection,
                _priors,
                run_id=run_id,
                patient_key=patient_key,
                study_instance_uid=result.study_instance_uid,
                recorded_s=time.time(),
                result=_as_json.dump_json(result).decode(),
                patient_sex=result.patient_sex,
                patient_age_years=result.patient_age_years,
                kvp=result.kvp,
                contrast_phase=result.contrast_phase.value,
                l1_hu=result.l1_hu,
            )

    def similar_patients(self, now: DatedResult, patient_key: str) -> tuple[float, ...]:
        """Return the HU of L1 of other patients of the same sex and age (± 5 years), unenhanced, at the same tube voltage.

        One value per patient, of the result that was kept last; empty if the study itself is not of this kind.
        """
        age, is_known = now.patient_age_years, now.patient_sex in ("F", "M") and now.kvp is not None
        if age is None or not is_known or now.contrast_phase is not ContrastPhase.NONE:
            return ()
        query = (
            sa.select(_priors.c.patient_key, _priors.c.l1_hu)
            .where(
                _priors.c.patient_sex == now.patient_sex,
                _priors.c.patient_age_years.between(age - _SIMILAR_YEARS, age + _SIMILAR_YEARS),
                _priors.c.kvp == now.kvp,
                _priors.c.contrast_phase == ContrastPhase.NONE.value,
                _priors.c.l1_hu.is_not(None),
                _priors.c.patient_key != patient_key,
                _priors.c.is_withdrawn.is_(False),
            )
            .order_by(_priors.c.recorded_s, _priors.c.run_id)
        )
        with self._reading.connect() as connection:
            return tuple({row.patient_key: row.l1_hu for row in connection.execute(query)}.values())

    def of_patient(self, patient_key: str) -> tuple[DatedResult, ...]:
        """Return the results of a patient: for each study the one that was kept last."""
        query = (
            sa.select(_priors)
            .where(_priors.c.patient_key == patient_key, _priors.c.is_withdrawn.is_(False))
            .order_by(_priors.c.recorded_s, _priors.c.run_id)
        )
        with self._reading.connect() as connection:
            last = {row.study_instance_uid: row.result for row in connection.execute(query)}
        return tuple(_as_json.validate_json(text) for text in last.values())

    def withdraw(self, study_instance_uid: str, patient_key: str | None) -> None:
        """A study is this patient's (``None``: nobody's): its results of other patients are no longer used."""
        is_other = _priors.c.study_instance_uid == study_instance_uid
        if patient_key is not None:
            is_other &= _priors.c.patient_key != patient_key
        with self._engine.begin() as connection:
            connection.execute(sa.update(_priors).where(is_other).values(is_withdrawn=True))

    def rename_patient(self, old_key: str, new_key: str) -> int:
        """Two patients are one: results under the old key are found under the new one. Returns their number."""
        with self._engine.begin() as connection:
            of_old = sa.update(_priors).where(_priors.c.patient_key == old_key)
            return connection.execute(of_old.values(patient_key=new_key)).rowcount

    def is_withdrawn(self, study_instance_uid: str, patient_key: str) -> bool:
        """Whether a study was this patient's, and turned out not to be."""
        query = sa.select(_priors.c.is_withdrawn).where(
            _priors.c.study_instance_uid == study_instance_uid, _priors.c.patient_key == patient_key
        )
        with self._reading.connect() as connection:
            found = connection.execute(query).scalars().all()
        return bool(found) and all(found)

    def compared_with(self, study_instance_uid: str) -> tuple[str, ...]:
        """Return the other studies of patients from whom a study was withdrawn. Their reports may be compared with it."""
        is_this = _priors.c.study_instance_uid == study_instance_uid
        keys = sa.select(_priors.c.patient_key).where(is_this, _priors.c.is_withdrawn)
        query = sa.select(_priors.c.study_instance_uid).where(~is_this, _priors.c.patient_key.in_(keys)).distinct()
        with self._reading.connect() as connection:
            return tuple(sorted(connection.execute(query).scalars()))

    def patient_key_of(self, run_id: str) -> str | None:
        """Return the key of the patient of a run; ``None`` if no result was kept."""
        query = sa.select(_priors.c.patient_key).where(_priors.c.run_id == run_id)
        with self._reading.connect() as connection:
            return connection.execute(query).scalar_one_or_none()
