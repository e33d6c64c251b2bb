"""How copies really left, how far the mail log was read, and since when domains were seen with TLS.

Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "delivery_evidence",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("queue_id", sa.String(length=32), nullable=False),
        sa.Column("header_message_id", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("transport", sa.String(length=32), nullable=False),
        sa.Column("relay", sa.Text(), nullable=False),
        sa.Column("tls_version", sa.String(length=32), nullable=False),
        sa.Column("cipher", sa.String(length=80), nullable=False),
        sa.Column("certificate", sa.String(length=16), nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_evidence")),
    )
    for column in ("at", "queue_id", "header_message_id", "recipient"):
        op.create_index(op.f(f"ix_delivery_evidence_{column}"), "delivery_evidence", [column], unique=False)
    op.create_table(
        "log_positions",
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("position", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_log_positions")),
    )
    op.create_table(
        "tls_history",
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("positives", sa.Integer(), nullable=False),
        sa.Column("last_positive_at", sa.Double(), nullable=False),
        sa.Column("alarmed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_tls_history")),
    )


def downgrade() -> None:
    op.drop_table("tls_history")
    op.drop_table("log_positions")
    op.drop_table("delivery_evidence")
