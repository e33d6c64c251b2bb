"""By which way codes travel, the numbers of notices, phrases agreed beforehand, and asks for a fresh link.

Links that were minted before have no number: their recipients ask for a fresh one where no code is needed.

Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("code_way", sa.String(length=16), server_default="sender", nullable=False))
    op.add_column("messages", sa.Column("notice", sa.String(length=16), server_default="link", nullable=False))
    op.add_column("links", sa.Column("number_hash", sa.LargeBinary(), nullable=True))
    op.add_column("links", sa.Column("code_way", sa.String(length=16), server_default="sender", nullable=False))
    op.create_table(
        "fresh_asks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("number_hash", sa.LargeBinary(), nullable=True),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fresh_asks")),
    )
    op.create_table(
        "agreed_phrases",
        sa.Column("recipient", sa.String(length=320), nullable=False),
        sa.Column("phrase_hash", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("changed_by", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("recipient", name=op.f("pk_agreed_phrases")),
    )


def downgrade() -> None:
    op.drop_table("agreed_phrases")
    op.drop_table("fresh_asks")
    op.drop_column("links", "code_way")
    op.drop_column("links", "number_hash")
    op.drop_column("messages", "notice")
    op.drop_column("messages", "code_way")
