"""Replies from the portal: drafts, their files, what waits to be sent; and who may be replied to.

Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("reply", sa.String(length=16), server_default="sender", nullable=False))
    op.create_table(
        "replies",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=True),
        sa.Column("text", sa.LargeBinary(), nullable=True),
        sa.Column("blob_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_replies_delivery_id_deliveries")),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_replies_blob_id_blobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replies")),
    )
    op.create_index(op.f("ix_replies_delivery_id"), "replies", ["delivery_id"])
    op.create_table(
        "reply_files",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("reply_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("blob_id", sa.String(length=32), nullable=False),
        sa.Column("about", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["reply_id"], ["replies.id"], name=op.f("fk_reply_files_reply_id_replies")),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_reply_files_blob_id_blobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply_files")),
        sa.UniqueConstraint("blob_id", name=op.f("uq_reply_files_blob_id")),
    )
    op.create_index(op.f("ix_reply_files_reply_id"), "reply_files", ["reply_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_reply_files_reply_id"), table_name="reply_files")
    op.drop_table("reply_files")
    op.drop_index(op.f("ix_replies_delivery_id"), table_name="replies")
    op.drop_table("replies")
    op.drop_column("messages", "reply")
