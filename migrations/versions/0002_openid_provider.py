"""What a complete OpenID Provider needs: claims requests, resources, registration, logout delivery, refusals, logos."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    # With defaults of the server's own: the previous release goes on inserting grants without them.
    op.add_column("grants", sa.Column("claims", _JSON, nullable=False, server_default="{}"))
    op.add_column("grants", sa.Column("resources", _JSON, nullable=False, server_default="[]"))
    op.add_column("interactions", sa.Column("selected_session_id", sa.String(length=64), nullable=True))
    op.create_table(
        "resources",
        sa.Column("audience", sa.String(length=2048), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("scopes", _JSON, nullable=False),
        sa.Column("client_id", sa.String(length=2048), nullable=True),
        sa.Column("managed_by", sa.String(40), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("audience", name=op.f("pk_resources")),
    )
    op.create_table(
        "initial_access_tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("note", sa.String(length=300), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("revoked_at", _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_initial_access_tokens")),
        sa.UniqueConstraint("id", name=op.f("uq_initial_access_tokens_id")),
    )
    op.create_table(
        "seen_tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_seen_tokens")),
    )
    op.create_index(op.f("ix_seen_tokens_expires_at"), "seen_tokens", ["expires_at"], unique=False)
    op.create_table(
        "refusals",
        sa.Column("reference", sa.String(length=40), nullable=False),
        sa.Column("client_id", sa.String(length=2048), nullable=True),
        sa.Column("error", sa.String(length=100), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("reference", name=op.f("pk_refusals")),
    )
    op.create_index(op.f("ix_refusals_expires_at"), "refusals", ["expires_at"], unique=False)
    op.create_index(op.f("ix_refusals_address_created_at"), "refusals", ["address", "created_at"], unique=False)
    op.create_table(
        "logout_deliveries",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("client_id", sa.String(length=2048), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _INSTANT, nullable=True),
        sa.Column("claimed_until", _INSTANT, nullable=True),
        sa.Column("delivered_at", _INSTANT, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["clients.client_id"],
            name=op.f("fk_logout_deliveries_client_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_logout_deliveries_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logout_deliveries")),
    )
    op.create_index(
        op.f("ix_logout_deliveries_next_attempt_at"), "logout_deliveries", ["next_attempt_at"], unique=False
    )
    op.create_index(op.f("ix_logout_deliveries_expires_at"), "logout_deliveries", ["expires_at"], unique=False)
    op.create_index(op.f("ix_logout_deliveries_session_id"), "logout_deliveries", ["session_id"], unique=False)
    op.create_table(
        "logos",
        sa.Column("client_id", sa.String(length=2048), nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("fetched_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.client_id"], name=op.f("fk_logos_client_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_logos")),
    )
    op.create_index(op.f("ix_logos_digest"), "logos", ["digest"], unique=False)


def downgrade() -> None:
    op.drop_table("logos")
    op.drop_table("logout_deliveries")
    op.drop_table("refusals")
    op.drop_table("seen_tokens")
    op.drop_table("initial_access_tokens")
    op.drop_table("resources")
    with op.batch_alter_table("interactions") as table:
        table.drop_column("selected_session_id")
    with op.batch_alter_table("grants") as table:
        table.drop_column("resources")
        table.drop_column("claims")
