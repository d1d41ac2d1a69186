"""Images, templates, and what installations and rescue keep."""

import sqlalchemy as sa
from alembic import op

from rackhand.db import Id, Json, UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "os_image",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("source_format", sa.String(), nullable=False),
        sa.Column("expected_sha256", sa.String(), nullable=False),
        sa.Column("minisig", sa.String(), nullable=False),
        sa.Column("signed_by", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("received_bytes", Id, nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("size_bytes", Id, nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("unpacked_bytes", Id, nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("ready_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_os_image")),
        sa.UniqueConstraint("name", name=op.f("uq_os_image_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "os_template",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("os_group", sa.String(), nullable=False),
        sa.Column("image_id", Id, nullable=True),
        sa.Column("installer", sa.String(), nullable=False),
        sa.Column("boot_mode", sa.String(), nullable=False),
        sa.Column("min_disk_gb", sa.Integer(), nullable=False),
        sa.Column("access", sa.String(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("macros", Json, nullable=False),
        sa.Column("raid_levels", Json, nullable=False),
        sa.Column("partitions", Json, nullable=False),
        sa.Column("script", sa.String(), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["os_image.id"], name=op.f("fk_os_template_image_id_os_image"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_os_template")),
        sa.UniqueConstraint("name", name=op.f("uq_os_template_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_os_template_image_id"), "os_template", ["image_id"])
    op.create_table(
        "task_secret",
        sa.Column("task_id", Id, autoincrement=False, nullable=False),
        sa.Column("sealed", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_task_secret_task_id_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_task_secret")),
    )
    op.create_table(
        "first_boot",
        sa.Column("task_id", Id, autoincrement=False, nullable=False),
        sa.Column("nonce_hash", sa.LargeBinary(), nullable=False),
        sa.Column("reported_at", UtcDateTime(), nullable=True),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("report", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_first_boot_task_id_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_first_boot")),
        sa.UniqueConstraint("nonce_hash", name=op.f("uq_first_boot_nonce_hash")),
    )
    op.create_table(
        "rescue",
        sa.Column("server_id", Id, autoincrement=False, nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("begun_at", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["server.id"], name=op.f("fk_rescue_server_id_server"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("server_id", name=op.f("pk_rescue")),
    )


def downgrade() -> None:
    """Take it back."""
    for table in ("rescue", "first_boot", "task_secret", "os_template", "os_image"):
        op.drop_table(table)
