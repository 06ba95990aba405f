"""The segmenter, live workers, waiting studies, and studies in conflict."""

from __future__ import annotations

import time

import sqlalchemy as sa

from node.common.errors import ConfigurationError
from node.doctor.finding import Finding, Outcome
from node.doctor.storage import has_records
from node.records.conflicts import ConflictRecords
from node.records.runs import DeliveryState, RunRecords, RunState
from node.records.work import WorkRecords
from node.records.workers import Workers
from node.segment import load_segmenter
from node.settings.tree import Settings


def check_segmenter(settings: Settings) -> tuple[Finding, ...]:
    """Whether the chosen segmenter can run; loads its weights."""
    try:
        segmenter = load_segmenter(settings.segment)
    except ConfigurationError as error:
        return (Finding("segmenter", Outcome.ERROR, str(error)),)
    return (Finding("segmenter", Outcome.OK, f"{segmenter.name} {segmenter.version}"),)


def check_work(settings: Settings) -> tuple[Finding, ...]:
    """Whether a worker is alive for waiting studies, and whether any failed."""
    name = "work"
    if not has_records(settings):
        return (Finding(name, Outcome.OK, "the node has not run yet"),)
    try:
        workers = Workers.open(settings).known()
        records = RunRecords.open(settings)
        runs, deliveries = records.count_by_state(), records.count_deliveries_by_state()
        given_up = sum(WorkRecords.open(settings).count_given_up().values())
    except (ConfigurationError, sa.exc.SQLAlchemyError) as error:
        return (Finding(name, Outcome.ERROR, f"not known, the database does not answer ({type(error).__name__})"),)
    refused = deliveries[DeliveryState.REJECTED] + deliveries[DeliveryState.NOT_TAKEN]
    now_s = time.time()
    alive = [one for one in workers if not one.is_lost(now_s, settings.worker_lost_after_s)]
    waiting = runs[RunState.QUEUED] + runs[RunState.RUNNING]
    detail = (
        f"workers alive: {', '.join(one.worker_id for one in alive) or 'none'}; studies: {waiting} waiting or running, "
        f"{runs[RunState.FAILED]} failed; deliveries: {deliveries[DeliveryState.PENDING]} waiting, "
        f"{refused} refused; given up: {given_up}"
    )
    if waiting and not alive:
        return (Finding(name, Outcome.ERROR, detail, "no worker processes them: start one (bmd-node serve)"),)
    if given_up:
        todo = "see the reasons: bmd-node deliveries list; then bmd-node deliveries retry or drop"
        return (Finding(name, Outcome.WARNING, detail, todo),)
    if runs[RunState.FAILED] or refused:
        return (Finding(name, Outcome.WARNING, detail, "see bmd-node status or the status page for the reasons"),)
    return (Finding(name, Outcome.OK, detail),)


def check_conflicts(settings: Settings) -> tuple[Finding, ...]:
    """Whether images came again with other content, and nobody has decided which one is right."""
    name = "corrected images"
    if not has_records(settings):
        return ()
    try:
        found = ConflictRecords.open(settings).studies()
    except (ConfigurationError, sa.exc.SQLAlchemyError) as error:
        return (Finding(name, Outcome.ERROR, f"not known, the database does not answer ({type(error).__name__})"),)
    if not found:
        return ()
    n_images = sum(study.n_images for study in found)
    detail = f"{len(found)} studies in conflict: {n_images} of their images came again with other content"
    todo = "their reports are of what came first: see bmd-node conflicts list; then bmd-node conflicts take or keep"
    return (Finding(name, Outcome.WARNING, detail, todo),)
