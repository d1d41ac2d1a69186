"""Switches, ports, cables, VLANs and traffic."""

import sqlalchemy as sa
from alembic import op

from rackhand.db import Id, Json, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "sweep_lease",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sweep_lease")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vlan",
        sa.Column("id", Id, nullable=False),
        sa.Column("location_id", Id, nullable=False),
        sa.Column("vid", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("owner_id", Id, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["location_id"], ["location.id"], name=op.f("fk_vlan_location_id_location"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_vlan_owner_id_users"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vlan")),
        sa.UniqueConstraint("location_id", "vid", name=op.f("uq_vlan_location_id_vid")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("vlan", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vlan_owner_id"), ["owner_id"], unique=False)
        batch_op.create_index(
            "uq_vlan_purpose",
            ["location_id", "purpose"],
            unique=True,
            sqlite_where=sa.text("purpose IN ('provisioning', 'parking')"),
            postgresql_where=sa.text("purpose IN ('provisioning', 'parking')"),
        )

    op.create_table(
        "switch",
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
            ["location_id"], ["location.id"], name=op.f("fk_switch_location_id_location"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["rack_id"], ["rack.id"], name=op.f("fk_switch_rack_id_rack"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_switch")),
        sa.UniqueConstraint("host", "port", name=op.f("uq_switch_host_port")),
        sa.UniqueConstraint("name", name=op.f("uq_switch_name")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("switch", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_switch_location_id"), ["location_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_switch_rack_id"), ["rack_id"], unique=False)

    op.create_table(
        "switch_port",
        sa.Column("id", Id, nullable=False),
        sa.Column("switch_id", Id, nullable=False),
        sa.Column("if_index", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("mac", sa.String(), nullable=True),
        sa.Column("speed_mbit", sa.Integer(), nullable=False),
        sa.Column("admin_status", sa.String(), nullable=False),
        sa.Column("oper_status", sa.String(), nullable=False),
        sa.Column("vlan", sa.Integer(), nullable=True),
        sa.Column("is_uplink", sa.Boolean(), nullable=False),
        sa.Column("is_missing", sa.Boolean(), nullable=False),
        sa.Column("flag", sa.String(), nullable=True),
        sa.Column("seen_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["switch_id"], ["switch.id"], name=op.f("fk_switch_port_switch_id_switch"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_switch_port")),
        sa.UniqueConstraint("switch_id", "if_index", name=op.f("uq_switch_port_switch_id_if_index")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "connection",
        sa.Column("id", Id, nullable=False),
        sa.Column("port_id", Id, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("server_id", Id, nullable=True),
        sa.Column("nic_id", Id, nullable=True),
        sa.Column("device_name", sa.String(), nullable=False),
        sa.Column("notes", sa.String(), nullable=False),
        sa.Column("do_not_collect_traffic", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["nic_id"], ["nic.id"], name=op.f("fk_connection_nic_id_nic"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["port_id"],
            ["switch_port.id"],
            name=op.f("fk_connection_port_id_switch_port"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["server_id"], ["server.id"], name=op.f("fk_connection_server_id_server"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connection")),
        sa.UniqueConstraint("nic_id", name=op.f("uq_connection_nic_id")),
        sa.UniqueConstraint("port_id", name=op.f("uq_connection_port_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("connection", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_connection_server_id"), ["server_id"], unique=False)

    op.create_table(
        "traffic_archive",
        sa.Column("port_id", Id, autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("samples", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["port_id"],
            ["switch_port.id"],
            name=op.f("fk_traffic_archive_port_id_switch_port"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("port_id", "day", name=op.f("pk_traffic_archive")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "traffic_day",
        sa.Column("port_id", Id, autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("octets_in", sa.BigInteger(), nullable=False),
        sa.Column("octets_out", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["port_id"],
            ["switch_port.id"],
            name=op.f("fk_traffic_day_port_id_switch_port"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("port_id", "day", name=op.f("pk_traffic_day")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "traffic_sample",
        sa.Column("port_id", Id, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("octets_in", sa.BigInteger(), nullable=False),
        sa.Column("octets_out", sa.BigInteger(), nullable=False),
        sa.Column("uptime", sa.Integer(), nullable=False),
        sa.Column("bits", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["port_id"],
            ["switch_port.id"],
            name=op.f("fk_traffic_sample_port_id_switch_port"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("port_id", "at", name=op.f("pk_traffic_sample")),
        sqlite_with_rowid=False,
    )
    op.drop_table("poll_lease")


def downgrade() -> None:
    """Take it back."""
    op.create_table(
        "poll_lease",
        sa.Column("location_id", sa.INTEGER(), nullable=False),
        sa.Column("holder", sa.VARCHAR(), nullable=False),
        sa.Column("lease_until", sa.DATETIME(), nullable=False),
        sa.PrimaryKeyConstraint("location_id"),
    )
    op.drop_table("traffic_sample")
    op.drop_table("traffic_day")
    op.drop_table("traffic_archive")
    with op.batch_alter_table("connection", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_connection_server_id"))

    op.drop_table("connection")
    op.drop_table("switch_port")
    with op.batch_alter_table("switch", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_switch_rack_id"))
        batch_op.drop_index(batch_op.f("ix_switch_location_id"))

    op.drop_table("switch")
    with op.batch_alter_table("vlan", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_vlan_purpose",
            sqlite_where=sa.text("purpose IN ('provisioning', 'parking')"),
            postgresql_where=sa.text("purpose IN ('provisioning', 'parking')"),
        )
        batch_op.drop_index(batch_op.f("ix_vlan_owner_id"))

    op.drop_table("vlan")
    op.drop_table("sweep_lease")
