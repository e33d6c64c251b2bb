"""Epochs of the key ring, and which blobs' shares are to be erased from it.

Blobs that were held before have no epoch: their data keys open without the ring until they are destroyed.

Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "epochs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("seals_until", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_epochs")),
    )
    op.create_table(
        "erasures",
        sa.Column("blob_id", sa.String(length=32), nullable=False),
        sa.Column("epoch_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("blob_id", name=op.f("pk_erasures")),
    )
    op.add_column("blobs", sa.Column("epoch_id", sa.String(length=32), nullable=True))
    op.create_index(op.f("ix_blobs_epoch_id"), "blobs", ["epoch_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_blobs_epoch_id"), table_name="blobs")
    op.drop_column("blobs", "epoch_id")
    op.drop_table("erasures")
    op.drop_table("epochs")
