"""Name servers, reverse zones and what they are to say; addresses are no longer moved by tasks."""

import sqlalchemy as sa
from alembic import op

from rackhand.db import Id, Json, UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "dns_server",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("error_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("driver", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("credentials", sa.String(), nullable=False),
        sa.Column("settings", Json, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("refused_at", UtcDateTime(), nullable=True),
        sa.Column("refusal", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dns_server")),
        sa.UniqueConstraint("name", name=op.f("uq_dns_server_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "dns_zone",
        sa.Column("id", Id, nullable=False),
        sa.Column("userspace_id", Id, nullable=False),
        sa.Column("dns_server_id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("cidr", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("prefix_length", sa.Integer(), nullable=False),
        sa.Column("first", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.LargeBinary(), nullable=False),
        sa.Column("ttl", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dns_server_id"],
            ["dns_server.id"],
            name=op.f("fk_dns_zone_dns_server_id_dns_server"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["userspace_id"],
            ["ip_userspace.id"],
            name=op.f("fk_dns_zone_userspace_id_ip_userspace"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dns_zone")),
        sa.UniqueConstraint(
            "userspace_id",
            "first",
            "prefix_length",
            name=op.f("uq_dns_zone_userspace_id_first_prefix_length"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_dns_zone_dns_server_id"), "dns_zone", ["dns_server_id"])
    op.create_table(
        "ptr_record",
        sa.Column("id", Id, nullable=False),
        sa.Column("userspace_id", Id, nullable=False),
        sa.Column("zone_id", Id, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("try_at", UtcDateTime(), nullable=False),
        sa.Column("published_at", UtcDateTime(), nullable=True),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("held_until", UtcDateTime(), nullable=True),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["userspace_id"],
            ["ip_userspace.id"],
            name=op.f("fk_ptr_record_userspace_id_ip_userspace"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["zone_id"], ["dns_zone.id"], name=op.f("fk_ptr_record_zone_id_dns_zone"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ptr_record")),
        sa.UniqueConstraint("userspace_id", "key", name=op.f("uq_ptr_record_userspace_id_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_ptr_record_zone_id"), "ptr_record", ["zone_id"])
    op.create_index(
        "ix_ptr_record_due",
        "ptr_record",
        ["try_at"],
        sqlite_where=sa.text("state != 'published'"),
        postgresql_where=sa.text("state != 'published'"),
    )
    op.drop_index("ix_ip_address_moving", "ip_address")
    op.drop_index(op.f("ix_ip_address_server_id"), "ip_address")
    # Said plainly: a table that Alembic copies for SQLite would give numbers twice.
    op.execute("ALTER TABLE ip_address DROP COLUMN task_id")
    op.create_index(op.f("ix_ip_address_server_id_ip_address_key"), "ip_address", ["server_id", "key"])


def downgrade() -> None:
    """Take it back."""
    op.drop_index(op.f("ix_ip_address_server_id_ip_address_key"), "ip_address")
    op.add_column("ip_address", sa.Column("task_id", Id, nullable=True))
    op.create_index(op.f("ix_ip_address_server_id"), "ip_address", ["server_id"])
    op.create_index(
        "ix_ip_address_moving",
        "ip_address",
        ["task_id"],
        sqlite_where=sa.text("task_id IS NOT NULL"),
        postgresql_where=sa.text("task_id IS NOT NULL"),
    )
    for table in ("ptr_record", "dns_zone", "dns_server"):
        op.drop_table(table)
