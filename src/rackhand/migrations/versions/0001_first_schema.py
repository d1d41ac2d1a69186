"""First schema."""

import sqlalchemy as sa
from alembic import op

from rackhand.db import Id, Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "auth_setting",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_auth_setting")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "event",
        sa.Column("id", Id, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject_id", Id, nullable=True),
        sa.Column("subject_name", sa.String(), nullable=False),
        sa.Column("owner_id", Id, nullable=True),
        sa.Column("actor_id", Id, nullable=True),
        sa.Column("actor_email", sa.String(), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column("task_id", Id, nullable=True),
        sa.Column("data", Json, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_event_kind"), ["kind"], unique=False)
        batch_op.create_index(batch_op.f("ix_event_owner_id_event_id"), ["owner_id", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_event_subject_kind_event_subject_id_event_id"),
            ["subject_kind", "subject_id", "id"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_event_task_id"), ["task_id"], unique=False)

    op.create_table(
        "idempotency_key",
        sa.Column("id", Id, nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("sealed_body", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency_key")),
        sa.UniqueConstraint("owner", "key", name=op.f("uq_idempotency_key_owner_key")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("idempotency_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_key_created_at"), ["created_at"], unique=False)

    op.create_table(
        "ip_userspace",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ip_userspace")),
        sa.UniqueConstraint("name", name=op.f("uq_ip_userspace_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "location",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_location")),
        sa.UniqueConstraint("name", name=op.f("uq_location_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "poll_lease",
        sa.Column("location_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("location_id", name=op.f("pk_poll_lease")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sign_in_failure",
        sa.Column("id", Id, nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_failure")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("sign_in_failure", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_sign_in_failure_address_sign_in_failure_at"), ["address", "at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_sign_in_failure_email_sign_in_failure_at"), ["email", "at"], unique=False
        )

    op.create_table(
        "step_duration",
        sa.Column("id", Id, nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step_duration")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("step_duration", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_step_duration_operation_step_duration_step_step_duration_model_step_duration_id"),
            ["operation", "step", "model", "id"],
            unique=False,
        )

    op.create_table(
        "task",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("params", Json, nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject_id", Id, nullable=False),
        sa.Column("subject_name", sa.String(), nullable=False),
        sa.Column("owner_id", Id, nullable=True),
        sa.Column("location_id", Id, nullable=True),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("outcome", Json, nullable=True),
        sa.Column("executor_id", sa.String(), nullable=True),
        sa.Column("waiting_for", sa.String(), nullable=True),
        sa.Column("waiting_since", UtcDateTime(), nullable=True),
        sa.Column("waiting_until", UtcDateTime(), nullable=True),
        sa.Column("requested_by_id", Id, nullable=True),
        sa.Column("requested_by", sa.String(), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("cancel_requested_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("memo", Json, nullable=False),
        sa.Column("signals", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("uuid", name=op.f("uq_task_uuid")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.create_index(
            "ix_task_active",
            ["status"],
            unique=False,
            sqlite_where=sa.text("status IN ('queued', 'running', 'waiting')"),
            postgresql_where=sa.text("status IN ('queued', 'running', 'waiting')"),
        )
        batch_op.create_index(batch_op.f("ix_task_finished_at"), ["finished_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_task_owner_id_task_id"), ["owner_id", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_task_subject_kind_task_subject_id_task_id"),
            ["subject_kind", "subject_id", "id"],
            unique=False,
        )
        batch_op.create_index(
            "uq_task_active_subject",
            ["subject_kind", "subject_id"],
            unique=True,
            sqlite_where=sa.text("status IN ('queued', 'running', 'waiting')"),
            postgresql_where=sa.text("status IN ('queued', 'running', 'waiting')"),
        )

    op.create_table(
        "users",
        sa.Column("id", Id, nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("full_name", sa.String(), nullable=False),
        sa.Column("phone_number", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("vlans_per_user", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "worker_slot",
        sa.Column("executor_id", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.String(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("executor_id", name=op.f("pk_worker_slot")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "ip_network",
        sa.Column("id", Id, nullable=False),
        sa.Column("userspace_id", Id, nullable=False),
        sa.Column("parent_id", Id, nullable=True),
        sa.Column("cidr", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("prefix_length", sa.Integer(), nullable=False),
        sa.Column("first", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.LargeBinary(), nullable=False),
        sa.Column("gateway", sa.String(), nullable=False),
        sa.Column("vlan", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("location_id", Id, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["location_id"],
            ["location.id"],
            name=op.f("fk_ip_network_location_id_location"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["ip_network.id"],
            name=op.f("fk_ip_network_parent_id_ip_network"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["userspace_id"],
            ["ip_userspace.id"],
            name=op.f("fk_ip_network_userspace_id_ip_userspace"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ip_network")),
        sa.UniqueConstraint(
            "userspace_id",
            "first",
            "prefix_length",
            name=op.f("uq_ip_network_userspace_id_first_prefix_length"),
        ),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("ip_network", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ip_network_location_id"), ["location_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ip_network_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "ip_quota",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("ipv4", sa.Integer(), nullable=False),
        sa.Column("ipv6", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_ip_quota_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_ip_quota")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "known_address",
        sa.Column("id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("last_seen_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_known_address_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_known_address")),
        sa.UniqueConstraint("user_id", "address", name=op.f("uq_known_address_user_id_address")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("known_address", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_known_address_user_id"), ["user_id"], unique=False)

    op.create_table(
        "login_key",
        sa.Column("id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_login_key_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_key")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_login_key_key_hash")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("login_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_login_key_user_id"), ["user_id"], unique=False)

    op.create_table(
        "rack",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("location_id", Id, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["location_id"], ["location.id"], name=op.f("fk_rack_location_id_location"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rack")),
        sa.UniqueConstraint("location_id", "name", name=op.f("uq_rack_location_id_name")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("rack", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rack_location_id"), ["location_id"], unique=False)

    op.create_table(
        "ssh_key",
        sa.Column("id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("public_key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_ssh_key_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ssh_key")),
        sa.UniqueConstraint("user_id", "fingerprint", name=op.f("uq_ssh_key_user_id_fingerprint")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("ssh_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ssh_key_user_id"), ["user_id"], unique=False)

    op.create_table(
        "task_step",
        sa.Column("id", Id, nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("deadline_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_task_step_task_id_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_step")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("task_step", schema=None) as batch_op:
        batch_op.create_index("uq_task_step_position", ["task_id", "position"], unique=True)

    op.create_table(
        "token",
        sa.Column("id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_token_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_token_token_hash")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("token", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_token_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_token_user_id"), ["user_id"], unique=False)

    op.create_table(
        "ip_free_span",
        sa.Column("id", Id, nullable=False),
        sa.Column("userspace_id", Id, nullable=False),
        sa.Column("network_id", Id, nullable=False),
        sa.Column("first", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["network_id"],
            ["ip_network.id"],
            name=op.f("fk_ip_free_span_network_id_ip_network"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["userspace_id"],
            ["ip_userspace.id"],
            name=op.f("fk_ip_free_span_userspace_id_ip_userspace"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ip_free_span")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("ip_free_span", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_ip_free_span_network_id_ip_free_span_last"), ["network_id", "last"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_ip_free_span_userspace_id_ip_free_span_last"),
            ["userspace_id", "last"],
            unique=False,
        )

    op.create_table(
        "ip_pool",
        sa.Column("id", Id, nullable=False),
        sa.Column("userspace_id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("location_id", Id, nullable=True),
        sa.Column("rack_id", Id, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["location_id"],
            ["location.id"],
            name=op.f("fk_ip_pool_location_id_location"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["rack_id"], ["rack.id"], name=op.f("fk_ip_pool_rack_id_rack"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["userspace_id"],
            ["ip_userspace.id"],
            name=op.f("fk_ip_pool_userspace_id_ip_userspace"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ip_pool")),
        sa.UniqueConstraint("userspace_id", "name", name=op.f("uq_ip_pool_userspace_id_name")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("ip_pool", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ip_pool_location_id"), ["location_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ip_pool_rack_id"), ["rack_id"], unique=False)

    op.create_table(
        "server",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("configuration", sa.String(), nullable=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("barcode", sa.String(), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("location_id", Id, nullable=False),
        sa.Column("rack_id", Id, nullable=True),
        sa.Column("unit", sa.Integer(), nullable=True),
        sa.Column("owner_id", Id, nullable=True),
        sa.Column("is_new", sa.Boolean(), nullable=False),
        sa.Column("maintenance", sa.Boolean(), nullable=False),
        sa.Column("is_protected", sa.Boolean(), nullable=False),
        sa.Column("is_suspended", sa.Boolean(), nullable=False),
        sa.Column("quarantine_reason", sa.String(), nullable=True),
        sa.Column("diagnostics_error", sa.String(), nullable=True),
        sa.Column("efi", sa.Boolean(), nullable=False),
        sa.Column("hardware_info", Json, nullable=False),
        sa.Column("perform_info", Json, nullable=False),
        sa.Column("os_template", Json, nullable=True),
        sa.Column("power_state", sa.String(), nullable=False),
        sa.Column("power_state_at", UtcDateTime(), nullable=True),
        sa.Column("power_error", sa.String(), nullable=True),
        sa.Column("power_error_at", UtcDateTime(), nullable=True),
        sa.Column("last_task_id", Id, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["location_id"], ["location.id"], name=op.f("fk_server_location_id_location"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_server_owner_id_users"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["rack_id"], ["rack.id"], name=op.f("fk_server_rack_id_rack"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_server")),
        sa.UniqueConstraint("name", name=op.f("uq_server_name")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("server", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_server_location_id"), ["location_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_server_owner_id"), ["owner_id"], unique=False)
        batch_op.create_index(
            "ix_server_stock",
            ["configuration"],
            unique=False,
            sqlite_where=sa.text("owner_id IS NULL"),
            postgresql_where=sa.text("owner_id IS NULL"),
        )
        batch_op.create_index("uq_server_rack_unit", ["rack_id", "unit"], unique=True)

    op.create_table(
        "bmc_access",
        sa.Column("id", Id, nullable=False),
        sa.Column("server_id", Id, nullable=False),
        sa.Column("driver", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("password", sa.String(), nullable=False),
        sa.Column("settings", Json, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("refused_at", UtcDateTime(), nullable=True),
        sa.Column("refusal", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["server_id"], ["server.id"], name=op.f("fk_bmc_access_server_id_server"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bmc_access")),
        sa.UniqueConstraint("host", "port", name=op.f("uq_bmc_access_host_port")),
        sa.UniqueConstraint("server_id", name=op.f("uq_bmc_access_server_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "disk",
        sa.Column("id", Id, nullable=False),
        sa.Column("server_id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("size_gb", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["server.id"], name=op.f("fk_disk_server_id_server"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disk")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("disk", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_disk_server_id"), ["server_id"], unique=False)

    op.create_table(
        "ip_address",
        sa.Column("id", Id, nullable=False),
        sa.Column("userspace_id", Id, nullable=False),
        sa.Column("network_id", Id, nullable=False),
        sa.Column("pool_id", Id, nullable=True),
        sa.Column("server_id", Id, nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("prefix_length", sa.Integer(), nullable=False),
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("ptr", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("status_info", Json, nullable=False),
        sa.Column("is_main", sa.Boolean(), nullable=False),
        sa.Column("task_id", Id, nullable=True),
        sa.Column("quarantined_until", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["network_id"],
            ["ip_network.id"],
            name=op.f("fk_ip_address_network_id_ip_network"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["ip_pool.id"], name=op.f("fk_ip_address_pool_id_ip_pool"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["server_id"], ["server.id"], name=op.f("fk_ip_address_server_id_server"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["userspace_id"],
            ["ip_userspace.id"],
            name=op.f("fk_ip_address_userspace_id_ip_userspace"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ip_address")),
        sa.UniqueConstraint("userspace_id", "key", name=op.f("uq_ip_address_userspace_id_key")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("ip_address", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ip_address_key"), ["key"], unique=False)
        batch_op.create_index(
            "ix_ip_address_moving",
            ["task_id"],
            unique=False,
            sqlite_where=sa.text("task_id IS NOT NULL"),
            postgresql_where=sa.text("task_id IS NOT NULL"),
        )
        batch_op.create_index(
            batch_op.f("ix_ip_address_network_id_ip_address_key"), ["network_id", "key"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_ip_address_pool_id"), ["pool_id"], unique=False)
        batch_op.create_index(
            "ix_ip_address_quarantine",
            ["network_id", "quarantined_until"],
            unique=False,
            sqlite_where=sa.text("quarantined_until IS NOT NULL"),
            postgresql_where=sa.text("quarantined_until IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_ip_address_server_id"), ["server_id"], unique=False)
        batch_op.create_index(
            "ix_ip_address_special",
            ["network_id"],
            unique=False,
            sqlite_where=sa.text("status = 'special'"),
            postgresql_where=sa.text("status = 'special'"),
        )
        batch_op.create_index(
            "uq_ip_address_main",
            ["server_id"],
            unique=True,
            sqlite_where=sa.text("is_main"),
            postgresql_where=sa.text("is_main"),
        )

    op.create_table(
        "ip_range",
        sa.Column("id", Id, nullable=False),
        sa.Column("userspace_id", Id, nullable=False),
        sa.Column("pool_id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("first", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pool_id"], ["ip_pool.id"], name=op.f("fk_ip_range_pool_id_ip_pool"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["userspace_id"],
            ["ip_userspace.id"],
            name=op.f("fk_ip_range_userspace_id_ip_userspace"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ip_range")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("ip_range", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_ip_range_pool_id_ip_range_first"), ["pool_id", "first"], unique=False
        )

    op.create_table(
        "nic",
        sa.Column("id", Id, nullable=False),
        sa.Column("server_id", Id, nullable=False),
        sa.Column("mac", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("speed_mbit", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["server_id"], ["server.id"], name=op.f("fk_nic_server_id_server"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nic")),
        sa.UniqueConstraint("mac", name=op.f("uq_nic_mac")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("nic", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_nic_server_id"), ["server_id"], unique=False)


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("nic", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_nic_server_id"))

    op.drop_table("nic")
    with op.batch_alter_table("ip_range", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ip_range_pool_id_ip_range_first"))

    op.drop_table("ip_range")
    with op.batch_alter_table("ip_address", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_ip_address_main", sqlite_where=sa.text("is_main"), postgresql_where=sa.text("is_main")
        )
        batch_op.drop_index(
            "ix_ip_address_special",
            sqlite_where=sa.text("status = 'special'"),
            postgresql_where=sa.text("status = 'special'"),
        )
        batch_op.drop_index(batch_op.f("ix_ip_address_server_id"))
        batch_op.drop_index(
            "ix_ip_address_quarantine",
            sqlite_where=sa.text("quarantined_until IS NOT NULL"),
            postgresql_where=sa.text("quarantined_until IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_ip_address_pool_id"))
        batch_op.drop_index(batch_op.f("ix_ip_address_network_id_ip_address_key"))
        batch_op.drop_index(
            "ix_ip_address_moving",
            sqlite_where=sa.text("task_id IS NOT NULL"),
            postgresql_where=sa.text("task_id IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_ip_address_key"))

    op.drop_table("ip_address")
    with op.batch_alter_table("disk", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_disk_server_id"))

    op.drop_table("disk")
    op.drop_table("bmc_access")
    with op.batch_alter_table("server", schema=None) as batch_op:
        batch_op.drop_index("uq_server_rack_unit")
        batch_op.drop_index(
            "ix_server_stock",
            sqlite_where=sa.text("owner_id IS NULL"),
            postgresql_where=sa.text("owner_id IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_server_owner_id"))
        batch_op.drop_index(batch_op.f("ix_server_location_id"))

    op.drop_table("server")
    with op.batch_alter_table("ip_pool", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ip_pool_rack_id"))
        batch_op.drop_index(batch_op.f("ix_ip_pool_location_id"))

    op.drop_table("ip_pool")
    with op.batch_alter_table("ip_free_span", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ip_free_span_userspace_id_ip_free_span_last"))
        batch_op.drop_index(batch_op.f("ix_ip_free_span_network_id_ip_free_span_last"))

    op.drop_table("ip_free_span")
    with op.batch_alter_table("token", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_token_user_id"))
        batch_op.drop_index(batch_op.f("ix_token_expires_at"))

    op.drop_table("token")
    with op.batch_alter_table("task_step", schema=None) as batch_op:
        batch_op.drop_index("uq_task_step_position")

    op.drop_table("task_step")
    with op.batch_alter_table("ssh_key", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ssh_key_user_id"))

    op.drop_table("ssh_key")
    with op.batch_alter_table("rack", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rack_location_id"))

    op.drop_table("rack")
    with op.batch_alter_table("login_key", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_login_key_user_id"))

    op.drop_table("login_key")
    with op.batch_alter_table("known_address", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_known_address_user_id"))

    op.drop_table("known_address")
    op.drop_table("ip_quota")
    with op.batch_alter_table("ip_network", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ip_network_parent_id"))
        batch_op.drop_index(batch_op.f("ix_ip_network_location_id"))

    op.drop_table("ip_network")
    op.drop_table("worker_slot")
    op.drop_table("users")
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_task_active_subject",
            sqlite_where=sa.text("status IN ('queued', 'running', 'waiting')"),
            postgresql_where=sa.text("status IN ('queued', 'running', 'waiting')"),
        )
        batch_op.drop_index(batch_op.f("ix_task_subject_kind_task_subject_id_task_id"))
        batch_op.drop_index(batch_op.f("ix_task_owner_id_task_id"))
        batch_op.drop_index(batch_op.f("ix_task_finished_at"))
        batch_op.drop_index(
            "ix_task_active",
            sqlite_where=sa.text("status IN ('queued', 'running', 'waiting')"),
            postgresql_where=sa.text("status IN ('queued', 'running', 'waiting')"),
        )

    op.drop_table("task")
    with op.batch_alter_table("step_duration", schema=None) as batch_op:
        batch_op.drop_index(
            batch_op.f("ix_step_duration_operation_step_duration_step_step_duration_model_step_duration_id")
        )

    op.drop_table("step_duration")
    with op.batch_alter_table("sign_in_failure", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sign_in_failure_email_sign_in_failure_at"))
        batch_op.drop_index(batch_op.f("ix_sign_in_failure_address_sign_in_failure_at"))

    op.drop_table("sign_in_failure")
    op.drop_table("poll_lease")
    op.drop_table("location")
    op.drop_table("ip_userspace")
    with op.batch_alter_table("idempotency_key", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_key_created_at"))

    op.drop_table("idempotency_key")
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_event_task_id"))
        batch_op.drop_index(batch_op.f("ix_event_subject_kind_event_subject_id_event_id"))
        batch_op.drop_index(batch_op.f("ix_event_owner_id_event_id"))
        batch_op.drop_index(batch_op.f("ix_event_kind"))
        batch_op.drop_index(batch_op.f("ix_event_at"))

    op.drop_table("event")
    op.drop_table("auth_setting")
