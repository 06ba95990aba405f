"""``bmd-node erase``: remove all that the node keeps of a patient."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, existing_records, log_to_stderr, study_uids

if TYPE_CHECKING:
    from node.settings.tree import Settings
    from node.study.erasure import Found, PatientErasure
    from node.worker.history import History


@click.command()
@config_option
@click.option(
    "--patient-id",
    required=True,
    metavar="ID",
    help="Patient ID (0010,0020); case, padding and further HL7 components do not matter.",
)
@click.option(
    "--issuer",
    "issuers",
    multiple=True,
    metavar="ISSUER",
    help='Issuer of the Patient ID, as in HL7, DICOM or plans.issuers; "" means: where none is named. May be repeated.',
)
@click.option(
    "--study",
    "studies",
    multiple=True,
    metavar="STUDY_INSTANCE_UID",
    callback=study_uids,
    help="A further study of the patient, of which nothing is left here that has the Patient ID. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(
    config: Path | None, patient_id: str, issuers: tuple[str, ...], studies: tuple[str, ...], dry_run: bool, yes: bool
) -> None:
    """Remove all that this node keeps of a patient, and say what it cannot remove.

    Removed are: received images, folders of results, planned operations, refused messages with the Patient ID in them, and
    all records of the studies: runs, deliveries, reports, values for later comparison, alerts, messages, and the history of
    workflows. Work that is running is stopped at its next step. The node may run meanwhile.

    Reads every received image and every folder of results, which takes a while. A study that is sent again afterwards is a
    new study.

    Exit status: 0 done, or nothing is kept; 1 not confirmed, or something is left for now; 2 wrong usage, or the Patient ID
    has several issuers.
    """
    from node.study.erasure import PatientErasure
    from node.worker.history import History

    settings = existing_records(config)
    log_to_stderr("WARNING")
    erasure, history = PatientErasure(settings, patient_id, issuers or None), History(settings)
    found = erasure.find(studies)
    if found.is_nothing:
        click.echo("nothing is kept of this patient, as far as the Patient ID shows it")
        _say(_not_searched(found))
        return
    _say(_kept(found, history))
    click.echo("not removed by this command:")
    _say(f"  {line}" for line in (*_elsewhere(settings, erasure, found), *_not_searched(found)))
    if dry_run:
        click.echo("nothing was removed (--dry-run)")
        return
    if not yes and not click.confirm("remove all of this? It cannot be undone"):
        click.echo("nothing was removed")
        sys.exit(EXIT_CHECK_FAILED)
    removed = erasure.erase(found)
    workflows = history.erase([*removed.run_ids, *removed.message_ids, *removed.studies])
    click.echo(f"removed: {sum(removed.n_rows.values())} records, {workflows.n_removed} workflows, and the files")
    if workflows.n_running:
        click.echo(
            f"{workflows.n_running} workflows are running at this moment: the worker stops them at their next step, and "
            "removes them within three hours"
        )
    left = erasure.find(studies)
    if not left.is_nothing:
        click.echo("something has arrived meanwhile, or is being written: repeat this command", err=True)
        sys.exit(EXIT_CHECK_FAILED)


def _say(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def _kept(found: Found, history: History) -> Iterator[str]:
    for uid in found.studies:
        n_images = sum(one.study_instance_uid == uid for one in found.images)
        remark = "; some of its images name another patient, and go as well" if uid in found.mixed else ""
        yield f"study {uid}: {n_images} images{remark}"
    for run_id in found.single_runs:
        yield f"run {run_id}: an earlier report of a study that is another patient's now"
    n_second = sum(one.study_instance_uid not in found.studies for one in found.images)
    if n_second:
        yield f"{n_second} earlier contents of images that are another patient's now"
    yield f"{len(found.folders)} folders of results"
    plans = found.plans
    if plans.operations or plans.statements:
        yield f"{len(plans.operations)} planned operations, {len(plans.statements)} further statements that name the patient"
    if found.merged:
        yield f"{len(found.merged)} patient IDs that were merged with this one: what is theirs is part of this"
    if found.refused:
        yield f"{len(found.refused)} refused messages that have the Patient ID in them"
    if found.rows.n_rows:
        yield "records: " + ", ".join(f"{name} {n}" for name, n in sorted(found.rows.n_rows.items()))
    yield f"{history.count_of([*found.rows.run_ids, *found.rows.message_ids, *found.rows.studies])} workflows"


def _elsewhere(settings: Settings, erasure: PatientErasure, found: Found) -> Iterator[str]:
    for name, n in erasure.holders(found):
        yield f"{n} objects that the destination {name} has stored: delete them there"
    for name, n in erasure.told(found):
        yield f"{n} messages that went out on the channel {name}"
    yield "what the PACS, scanners and other systems have of the patient, and send again; forward nothing of it any more"
    yield "back-ups of the state directory and of the database"
    yield "UIDs of the studies in logs"
    yield "free pages of the database, until they are used again: VACUUM overwrites them"
    if settings.orthanc.url:
        yield "what Orthanc holds"
    if settings.plans_list.folder:
        yield f"theatre lists in {settings.plans_list.folder} and its subfolders"


def _not_searched(found: Found) -> Iterator[str]:
    if found.n_unreadable:
        yield (
            f"{found.n_unreadable} received files and folders of results that do not say whose they are: name studies of "
            "the patient with --study"
        )
    if not found.is_refused_searched:
        yield "refused messages: the Patient ID is too short to be looked for in them; see bmd-node plans --refused"
