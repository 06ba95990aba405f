"""Tables of version 0.1.0

That version stored no revision, and created a table only when a part of the node needed it. Existing tables stay.

Revision: 0001
Before:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the missing tables."""
    _table(
        "received_association_studies",
        sa.Column("association_id", sa.String(length=32), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("association_id", "study_instance_uid"),
    )
    _index("ix_received_association_studies_study_instance_uid", "received_association_studies", ["study_instance_uid"])
    _table(
        "received_associations",
        sa.Column("association_id", sa.String(length=32), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("opened_s", sa.Double(), nullable=False),
        sa.Column("ended_s", sa.Double()),
        sa.Column("ending", sa.String(length=16)),
        sa.PrimaryKeyConstraint("association_id"),
    )
    _table(
        "received_conflicts",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("received_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", "digest"),
    )
    _index("ix_received_conflicts_study_instance_uid", "received_conflicts", ["study_instance_uid"])
    _table(
        "received_handovers",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("content_digest", sa.String(length=64), nullable=False),
        sa.Column("workflow_id", sa.String(length=255), nullable=False),
        sa.Column("handed_over_s", sa.Double(), nullable=False),
        sa.Column("finished_s", sa.Double()),
        sa.PrimaryKeyConstraint("study_instance_uid", "content_digest"),
    )
    _index("ix_received_handovers_finished_s", "received_handovers", ["finished_s"])
    _table(
        "received_ignored",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("received_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
    )
    _index("ix_received_ignored_study_instance_uid", "received_ignored", ["study_instance_uid"])
    _table(
        "received_instances",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("received_s", sa.Double(), nullable=False),
        sa.Column("orientation_key", sa.String(length=64)),
        sa.Column("slice_position_mm", sa.Double()),
        sa.Column("removed_s", sa.Double()),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
    )
    _index("ix_received_instances_study_instance_uid", "received_instances", ["study_instance_uid"])
    _table(
        "received_own_instances",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("recorded_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
    )
    _table(
        "received_reruns",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("is_waiting", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid"),
    )
    _index("ix_received_reruns_is_waiting", "received_reruns", ["is_waiting"])
    _table(
        "received_studies",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("first_received_s", sa.Double(), nullable=False),
        sa.Column("last_activity_s", sa.Double(), nullable=False),
        sa.Column("waiting_since_s", sa.Double()),
        sa.PrimaryKeyConstraint("study_instance_uid"),
    )
    _index("ix_received_studies_waiting_since_s", "received_studies", ["waiting_since_s"])
    _table(
        "alert_acknowledgements",
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("acknowledged_s", sa.Double(), nullable=False),
        sa.Column("acknowledged_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("alert_id", "revision"),
    )
    _table(
        "alert_cursors",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    _table(
        "alert_messages",
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("because", sa.Text(), nullable=False),
        sa.Column("escalation", sa.Boolean(), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("recipient", sa.String(length=254), nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("decided_s", sa.Double(), nullable=False),
        sa.Column("handed_over_s", sa.Double()),
        sa.Column("answered_s", sa.Double()),
        sa.PrimaryKeyConstraint("message_id"),
    )
    _index("ix_alert_messages_alert_id", "alert_messages", ["alert_id"])
    _index("ix_alert_messages_handed_over_s", "alert_messages", ["handed_over_s"])
    _index("ix_alert_messages_patient_key", "alert_messages", ["patient_key"])
    _index("ix_alert_messages_run_id", "alert_messages", ["run_id"])
    _index("ix_alert_messages_study_instance_uid", "alert_messages", ["study_instance_uid"])
    _table(
        "alert_patient_numbers",
        sa.Column("number_key", sa.String(length=64), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number_key", "patient_key"),
    )
    _table(
        "alert_patients",
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("decided", sa.Integer(), nullable=False),
        sa.Column("due_s", sa.Double()),
        sa.PrimaryKeyConstraint("patient_key"),
    )
    _index("ix_alert_patients_due_s", "alert_patients", ["due_s"])
    _table(
        "alert_results",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("identity_folder", sa.Text(), nullable=False),
        sa.Column("recorded_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    _index("ix_alert_results_patient_key", "alert_results", ["patient_key"])
    _index("ix_alert_results_recorded_s", "alert_results", ["recorded_s"])
    _table(
        "delivered_objects",
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("stored_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "sop_instance_uid"),
    )
    _index("ix_delivered_objects_run_id", "delivered_objects", ["run_id"])
    _table(
        "destination_abilities",
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("answer", sa.String(length=32), nullable=False),
        sa.Column("since_s", sa.Double(), nullable=False),
        sa.Column("learned_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "sop_class_uid", "transfer_syntax_uid"),
    )
    _table(
        "redeliveries",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("is_waiting", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "destination"),
    )
    _index("ix_redeliveries_is_waiting", "redeliveries", ["is_waiting"])
    _table(
        "secrets",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    _table(
        "plan_refusal_counts",
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.String(length=200), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("last_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("source", "detail"),
    )
    _table(
        "plan_fhir_cursors",
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("seen_until_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    _table(
        "plan_refusals",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("last_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    _table(
        "planned_operation_changes",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("source_name", sa.String(length=400), nullable=False),
        sa.Column("operation_id", sa.String(length=400), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        # a number is never reused, even after its row was removed
        sqlite_autoincrement=True,
    )
    _index(
        "planned_operation_changes_of", "planned_operation_changes", ["source", "source_name", "operation_id", "revision"]
    )
    _table(
        "planned_operation_identifiers",
        sa.Column("value", sa.String(length=400), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("source_name", sa.String(length=400), nullable=False),
        sa.Column("operation_id", sa.String(length=400), nullable=False),
        sa.PrimaryKeyConstraint("value", "source", "source_name", "operation_id"),
    )
    _table(
        "planned_operation_statements",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("source_name", sa.String(length=400), nullable=False),
        sa.Column("operation_id", sa.String(length=400), nullable=False),
        sa.Column("arrival", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("keeps_status", sa.Boolean(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    _index("planned_operation_statements_of", "planned_operation_statements", ["source", "source_name", "operation_id"])
    _table(
        "planned_operations",
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("source_name", sa.String(length=400), nullable=False),
        sa.Column("operation_id", sa.String(length=400), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("concerns_s", sa.Double(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "source_name", "operation_id"),
    )
    _index("ix_planned_operations_concerns_s", "planned_operations", ["concerns_s"])
    _table(
        "prior_results",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("recorded_s", sa.Double(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    _index("ix_prior_results_patient_key", "prior_results", ["patient_key"])
    _table(
        "recalculations",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("measured_run_id", sa.String(length=200), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("issued_s", sa.Double(), nullable=False),
        sa.Column("handed_over_s", sa.Double()),
        sa.PrimaryKeyConstraint("run_id"),
    )
    _index("ix_recalculations_handed_over_s", "recalculations", ["handed_over_s"])
    _index("ix_recalculations_measured_run_id", "recalculations", ["measured_run_id"])
    _table(
        "report_versions",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("ordered_s", sa.Double(), nullable=False),
        sa.Column("replaces", sa.String(length=200)),
        sa.Column("is_made", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    _index("ix_report_versions_study_instance_uid", "report_versions", ["study_instance_uid"])
    _table(
        "deliveries",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("updated_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "destination"),
    )
    _table(
        "runs",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("queued_s", sa.Float(), nullable=False),
        sa.Column("updated_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    _index("ix_runs_study_instance_uid", "runs", ["study_instance_uid"])
    _table(
        "scans",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("recorded_s", sa.Double(), nullable=False),
        sa.Column("manufacturer", sa.Text()),
        sa.Column("manufacturer_model_name", sa.Text()),
        sa.Column("device_serial_number", sa.Text()),
        sa.Column("station_name", sa.Text()),
        sa.Column("kvp", sa.Double()),
        sa.Column("contrast_phase", sa.String(length=16), nullable=False),
        sa.Column("acquisition_date", sa.String(length=10)),
        sa.Column("air_hu", sa.Double()),
        sa.Column("noise_sd_hu", sa.Double()),
        sa.Column("fat_hu", sa.Double()),
        sa.Column("muscle_hu", sa.Double()),
        sa.Column("aorta_hu", sa.Double()),
        sa.Column("vena_cava_hu", sa.Double()),
        sa.Column("kidney_hu", sa.Double()),
        sa.Column("canal_hu", sa.Double()),
        sa.PrimaryKeyConstraint("run_id"),
    )
    _index("ix_scans_acquisition_date", "scans", ["acquisition_date"])
    _index("ix_scans_study_instance_uid", "scans", ["study_instance_uid"])
    _table(
        "workers",
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("seen_s", sa.Double(), nullable=False),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id"),
    )


def _table(name: str, *columns: sa.Column[object] | sa.Constraint, **options: bool) -> None:
    op.create_table(name, *columns, if_not_exists=True, **options)


def _index(name: str, table: str, columns: list[str]) -> None:
    # CREATE INDEX IF NOT EXISTS locks the table even where the index is there: on PostgreSQL a deadlock with writers
    if name not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns)
