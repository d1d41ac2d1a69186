"""Wipes and what signs their certificates."""

import sqlalchemy as sa
from alembic import op

from rackhand.db import Id, Json, UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "erasure",
        sa.Column("id", Id, nullable=False),
        sa.Column("server_id", Id, nullable=True),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("is_proven", sa.Boolean(), nullable=False),
        sa.Column("document", Json, nullable=False),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column("signature", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["server.id"], name=op.f("fk_erasure_server_id_server"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
        sa.UniqueConstraint("task_id", name=op.f("uq_erasure_task_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_erasure_server_id"), "erasure", ["server_id"])
    op.create_table(
        "signing_key",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("public_key", sa.String(), nullable=False),
        sa.Column("sealed_private_key", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_key")),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("signing_key")
    op.drop_table("erasure")
