"""Who has the serial console of a server open."""

import sqlalchemy as sa
from alembic import op

from rackhand.db import Id, UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.create_table(
        "console_lease",
        sa.Column("server_id", Id, nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["server.id"],
            name=op.f("fk_console_lease_server_id_server"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("server_id", name=op.f("pk_console_lease")),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("console_lease")
