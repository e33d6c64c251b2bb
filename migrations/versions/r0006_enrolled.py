"""Enrolled recipients: their ways to sign in, their sessions, and what a pickup window was opened with.

Messages that were held before accept enrolled recipients, as rules do where nothing else is said.

Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("enrolled", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("pickup_sessions", sa.Column("proof", sa.String(length=16), server_default="", nullable=False))
    op.add_column("fresh_asks", sa.Column("by_code", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "enrolments",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("proof", sa.String(length=16), nullable=False),
        sa.Column("user_handle", sa.LargeBinary(), nullable=False),
        sa.Column("greeting", sa.LargeBinary(), nullable=True),
        sa.Column("password", sa.LargeBinary(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolments")),
        sa.UniqueConstraint("address_hash", name=op.f("uq_enrolments_address_hash")),
    )
    _create_keys_and_sessions()
    op.create_table(
        "spent_challenges",
        sa.Column("challenge_hash", sa.LargeBinary(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("challenge_hash", name=op.f("pk_spent_challenges")),
    )
    op.create_index(op.f("ix_spent_challenges_ends_at"), "spent_challenges", ["ends_at"])


def _create_keys_and_sessions() -> None:
    own = {
        "passkeys": (
            sa.Column("credential_hash", sa.LargeBinary(), nullable=False),
            sa.Column("sealed", sa.LargeBinary(), nullable=False),
            sa.Column("sign_count", sa.BigInteger(), nullable=False),
            sa.UniqueConstraint("credential_hash", name=op.f("uq_passkeys_credential_hash")),
        ),
        "recipient_sessions": (
            sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
            sa.Column("ends_at", sa.Double(), nullable=False),
            sa.UniqueConstraint("secret_hash", name=op.f("uq_recipient_sessions_secret_hash")),
        ),
    }
    for table, columns in own.items():
        op.create_table(
            table,
            sa.Column("id", sa.String(length=32), nullable=False),
            sa.Column("enrolment_id", sa.String(length=32), nullable=False),
            sa.Column("created_at", sa.Double(), nullable=False),
            *columns,
            sa.ForeignKeyConstraint(
                ["enrolment_id"],
                ["enrolments.id"],
                name=op.f(f"fk_{table}_enrolment_id_enrolments"),
                ondelete="CASCADE",
            ),
            sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        )
        op.create_index(op.f(f"ix_{table}_enrolment_id"), table, ["enrolment_id"])


def downgrade() -> None:
    for table in ("spent_challenges", "recipient_sessions", "passkeys", "enrolments"):
        op.drop_table(table)
    op.drop_column("fresh_asks", "by_code")
    op.drop_column("pickup_sessions", "proof")
    op.drop_column("messages", "enrolled")
