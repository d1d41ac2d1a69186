"""PDUs, outlets, cords and energy."""

import sqlalchemy as sa
from alembic import op

from rackhand.db import Id, Json, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "pdu",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("barcode", sa.String(), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("location_id", Id, nullable=False),
        sa.Column("rack_id", Id, nullable=True),
        sa.Column("unit", sa.Integer(), nullable=True),
        sa.Column("owner_id", Id, nullable=True),
        sa.Column("last_task_id", Id, nullable=True),
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
        sa.ForeignKeyConstraint(
            ["location_id"], ["location.id"], name=op.f("fk_pdu_location_id_location"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["rack_id"], ["rack.id"], name=op.f("fk_pdu_rack_id_rack"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pdu")),
        sa.UniqueConstraint("host", "port", name=op.f("uq_pdu_host_port")),
        sa.UniqueConstraint("name", name=op.f("uq_pdu_name")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("pdu", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pdu_location_id"), ["location_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_pdu_rack_id"), ["rack_id"], unique=False)

    op.create_table(
        "outlet",
        sa.Column("id", Id, nullable=False),
        sa.Column("pdu_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("watts", sa.Integer(), nullable=True),
        sa.Column("energy_wh", sa.BigInteger(), nullable=True),
        sa.Column("sampled_at", sa.BigInteger(), nullable=True),
        sa.Column("is_missing", sa.Boolean(), nullable=False),
        sa.Column("flag", sa.String(), nullable=True),
        sa.Column("seen_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["pdu_id"], ["pdu.id"], name=op.f("fk_outlet_pdu_id_pdu"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outlet")),
        sa.UniqueConstraint("pdu_id", "number", name=op.f("uq_outlet_pdu_id_number")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "energy_archive",
        sa.Column("outlet_id", Id, autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("samples", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["outlet_id"], ["outlet.id"], name=op.f("fk_energy_archive_outlet_id_outlet"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("outlet_id", "day", name=op.f("pk_energy_archive")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "energy_sample",
        sa.Column("outlet_id", Id, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("energy_wh", sa.BigInteger(), nullable=True),
        sa.Column("watts", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["outlet_id"], ["outlet.id"], name=op.f("fk_energy_sample_outlet_id_outlet"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("outlet_id", "at", name=op.f("pk_energy_sample")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outlet_connection",
        sa.Column("id", Id, nullable=False),
        sa.Column("outlet_id", Id, nullable=False),
        sa.Column("server_id", Id, nullable=True),
        sa.Column("device_name", sa.String(), nullable=False),
        sa.Column("feed", sa.String(), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["outlet_id"],
            ["outlet.id"],
            name=op.f("fk_outlet_connection_outlet_id_outlet"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["server.id"],
            name=op.f("fk_outlet_connection_server_id_server"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outlet_connection")),
        sa.UniqueConstraint("outlet_id", name=op.f("uq_outlet_connection_outlet_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("outlet_connection", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_outlet_connection_server_id"), ["server_id"], unique=False)

    op.create_table(
        "energy_day",
        sa.Column("connection_id", Id, autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("energy_wh", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["outlet_connection.id"],
            name=op.f("fk_energy_day_connection_id_outlet_connection"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", "day", name=op.f("pk_energy_day")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("energy_day")
    with op.batch_alter_table("outlet_connection", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_outlet_connection_server_id"))

    op.drop_table("outlet_connection")
    op.drop_table("energy_sample")
    op.drop_table("energy_archive")
    op.drop_table("outlet")
    with op.batch_alter_table("pdu", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pdu_rack_id"))
        batch_op.drop_index(batch_op.f("ix_pdu_location_id"))

    op.drop_table("pdu")
