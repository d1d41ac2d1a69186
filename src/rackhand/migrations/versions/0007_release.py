"""How disks are cleared when a server is taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    with op.batch_alter_table("location", schema=None) as batch_op:
        batch_op.add_column(sa.Column("clear_on_release", sa.String(), nullable=False, server_default="full"))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("location", schema=None) as batch_op:
        batch_op.drop_column("clear_on_release")
