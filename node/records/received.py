"""The tables of received studies and instances.

SQLite and PostgreSQL use the same tables. Times are in seconds since the epoch (UTC), which both store alike. A database
belongs to one state directory: its paths are relative to that directory.
"""

from __future__ import annotations

import sqlalchemy as sa

from node.records.database import metadata

_UID = sa.String(64)  # PS3.5 section 9.1: at most 64 characters
_SHA256 = sa.String(64)

studies = sa.Table(
    "received_studies",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("first_received_s", sa.Double, nullable=False),
    # Also updated by instances that are already stored: a sender that repeats a study is still sending.
    sa.Column("last_activity_s", sa.Double, nullable=False),
    # Arrival of the first instance not yet covered by a hand-over; null if there is none.
    sa.Column("waiting_since_s", sa.Double, index=True),
)

instances = sa.Table(
    "received_instances",
    metadata,
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("series_instance_uid", _UID, nullable=False),
    sa.Column("sop_class_uid", _UID, nullable=False),
    sa.Column("transfer_syntax_uid", _UID, nullable=False),
    sa.Column("path", sa.String(255), nullable=False),
    sa.Column("digest", _SHA256, nullable=False),
    sa.Column("received_s", sa.Double, nullable=False),
    # Slices of one stack share this key; null if the image has no single plane.
    sa.Column("orientation_key", sa.String(64)),
    sa.Column("slice_position_mm", sa.Double),
    # When retention removed the file; the record stays.
    sa.Column("removed_s", sa.Double),
)

associations = sa.Table(
    "received_associations",
    metadata,
    sa.Column("association_id", sa.String(32), primary_key=True),
    sa.Column("calling_ae_title", sa.String(16), nullable=False),
    sa.Column("opened_s", sa.Double, nullable=False),
    sa.Column("ended_s", sa.Double),
    sa.Column("ending", sa.String(16)),
)

association_studies = sa.Table(
    "received_association_studies",
    metadata,
    sa.Column("association_id", sa.String(32), primary_key=True),
    sa.Column("study_instance_uid", _UID, primary_key=True, index=True),
)

conflicts = sa.Table(
    "received_conflicts",
    metadata,
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("digest", _SHA256, primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("transfer_syntax_uid", _UID, nullable=False),
    sa.Column("path", sa.String(255), nullable=False),
    # when it came last
    sa.Column("received_s", sa.Double, nullable=False),
    # see node.records.conflicts.ConflictState
    sa.Column("state", sa.String(16), nullable=False, index=True, server_default="new"),
)

ignored = sa.Table(
    "received_ignored",
    metadata,
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False, index=True),
    sa.Column("series_instance_uid", _UID, nullable=False),
    sa.Column("sop_class_uid", _UID, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("received_s", sa.Double, nullable=False),
)

own_instances = sa.Table(
    "received_own_instances",
    metadata,
    sa.Column("sop_instance_uid", _UID, primary_key=True),
    sa.Column("recorded_s", sa.Double, nullable=False),
)

handovers = sa.Table(
    "received_handovers",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("content_digest", _SHA256, primary_key=True),
    sa.Column("workflow_id", sa.String(255), nullable=False),
    sa.Column("handed_over_s", sa.Double, nullable=False),
    sa.Column("finished_s", sa.Double, index=True),
)

#: Studies that a person wants to be measured again; ``number`` counts from 1 for each study.
reruns = sa.Table(
    "received_reruns",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    # whether no worker has taken it yet
    sa.Column("is_waiting", sa.Boolean, nullable=False, index=True),
)
