"""Network boot: reservations, agents and their commands, unknown machines."""

import sqlalchemy as sa
from alembic import op

from rackhand.db import Id, Json, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "boot_reservation",
        sa.Column("id", Id, nullable=False),
        sa.Column("server_id", Id, nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("image", sa.String(), nullable=False),
        sa.Column("nonce_hash", sa.LargeBinary(), nullable=True),
        sa.Column("boot_id", sa.String(), nullable=True),
        sa.Column("asked_at", UtcDateTime(), nullable=True),
        sa.Column("asked_by", sa.String(), nullable=True),
        sa.Column("hello_at", UtcDateTime(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["server.id"],
            name=op.f("fk_boot_reservation_server_id_server"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_boot_reservation_task_id_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_boot_reservation")),
        sa.UniqueConstraint("server_id", name=op.f("uq_boot_reservation_server_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_boot_reservation_task_id"), "boot_reservation", ["task_id"])
    op.create_table(
        "agent_session",
        sa.Column("id", Id, nullable=False),
        sa.Column("server_id", Id, nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("boot_id", sa.String(), nullable=False),
        sa.Column("identity", Json, nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("log_tail", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["server_id"], ["server.id"], name=op.f("fk_agent_session_server_id_server"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_agent_session_task_id_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_agent_session_token_hash")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_agent_session_server_id"), "agent_session", ["server_id"])
    op.create_index(op.f("ix_agent_session_task_id"), "agent_session", ["task_id"])
    op.create_table(
        "agent_command",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("args", Json, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("session_id", Id, nullable=True),
        sa.Column("result", Json, nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["agent_session.id"],
            name=op.f("fk_agent_command_session_id_agent_session"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_agent_command_task_id_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_command")),
    )
    op.create_index(
        "ix_agent_command_queued",
        "agent_command",
        ["task_id"],
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        op.f("ix_agent_command_task_id_agent_command_step_agent_command_attempt"),
        "agent_command",
        ["task_id", "step", "attempt"],
    )
    op.create_table(
        "discovered_machine",
        sa.Column("mac", sa.String(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("uuid", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("first_seen_at", UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("mac", name=op.f("pk_discovered_machine")),
    )
    op.create_index(op.f("ix_discovered_machine_last_seen_at"), "discovered_machine", ["last_seen_at"])


def downgrade() -> None:
    """Take it back."""
    for table in ("discovered_machine", "agent_command", "agent_session", "boot_reservation"):
        op.drop_table(table)
