"""The sender's page, receipts, and copies whose access is frozen.

Messages that were held before cannot be kept longer by their senders, and their confirmations have no link.

Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("extend_until", sa.Double(), nullable=True))
    op.add_column("deliveries", sa.Column("frozen_at", sa.Double(), nullable=True))
    op.create_table(
        "sender_links",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("message_id", sa.String(length=32), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("number_hash", sa.LargeBinary(), nullable=False),
        sa.Column("sender_digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_sender_links_message_id_messages")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sender_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sender_links_token_hash")),
    )
    op.create_index(op.f("ix_sender_links_message_id"), "sender_links", ["message_id"])
    op.create_table(
        "sender_sessions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("link_id", sa.String(length=32), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["link_id"], ["sender_links.id"], name=op.f("fk_sender_sessions_link_id_sender_links")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sender_sessions")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_sender_sessions_secret_hash")),
    )
    op.create_index(op.f("ix_sender_sessions_link_id"), "sender_sessions", ["link_id"])
    op.create_table(
        "receipts",
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("occasion", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_receipts_delivery_id_deliveries")),
        sa.PrimaryKeyConstraint("delivery_id", "event", "occasion", name=op.f("pk_receipts")),
    )
    op.create_table(
        "sender_preferences",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("mailed", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sender_preferences")),
    )


def downgrade() -> None:
    op.drop_table("sender_preferences")
    op.drop_table("receipts")
    op.drop_table("sender_sessions")
    op.drop_table("sender_links")
    op.drop_column("deliveries", "frozen_at")
    op.drop_column("messages", "extend_until")
