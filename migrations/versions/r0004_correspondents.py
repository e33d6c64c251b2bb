"""Whom the site has written to, copies that two reviewers release, and messages that are only to be read.

Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "correspondents",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("last_day", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_correspondents")),
    )
    op.create_index(op.f("ix_correspondents_last_day"), "correspondents", ["last_day"], unique=False)
    op.add_column("messages", sa.Column("view_only", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("messages", sa.Column("four_eyes", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("deliveries", sa.Column("approved_by", sa.String(length=80), nullable=True))
    op.add_column("deliveries", sa.Column("approved_at", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("deliveries", "approved_at")
    op.drop_column("deliveries", "approved_by")
    op.drop_column("messages", "four_eyes")
    op.drop_column("messages", "view_only")
    op.drop_table("correspondents")
