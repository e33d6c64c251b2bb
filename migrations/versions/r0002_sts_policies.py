"""MTA-STS policies, which bind until they expire.

Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sts_policies",
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("policy_id", sa.String(length=32), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("mx", sa.JSON(), nullable=False),
        sa.Column("max_age", sa.Integer(), nullable=False),
        sa.Column("fetched_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_sts_policies")),
    )
    op.create_index(op.f("ix_sts_policies_expires_at"), "sts_policies", ["expires_at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_sts_policies_expires_at"), table_name="sts_policies")
    op.drop_table("sts_policies")
