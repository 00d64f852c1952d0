"""Signing in through other providers: their settings, linked accounts, visits under way, rules of labs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    # With a default of the server's own: the previous release goes on inserting rows without it.
    for table_name in ("sessions", "grants"):
        op.add_column(table_name, sa.Column("auth_time_known", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("invitations", sa.Column("bound_to", sa.String(length=40), nullable=True))
    op.create_table(
        "providers",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("display_name", sa.String(length=300), nullable=False),
        sa.Column("issuer", sa.String(length=2048), nullable=False),
        sa.Column("client_id", sa.String(length=2048), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=True),
        sa.Column("token_endpoint_auth_method", sa.String(length=40), nullable=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("hosted_domains", _JSON, nullable=False),
        sa.Column("claims", _JSON, nullable=False),
        sa.Column("update_profile", sa.Boolean(), nullable=False),
        sa.Column("assume_email_verified", sa.Boolean(), nullable=False),
        sa.Column("acr", _JSON, nullable=False),
        sa.Column("amr", _JSON, nullable=False),
        sa.Column("logout", sa.Boolean(), nullable=False),
        sa.Column("api_scope", sa.Text(), nullable=False),
        sa.Column("api_clients", _JSON, nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("managed_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_providers")),
    )
    op.create_table(
        "lab_rules",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("lab_id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("claim", sa.String(length=200), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("managed_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["lab_id"], ["labs.id"], name=op.f("fk_lab_rules_lab_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lab_rules")),
    )
    op.create_index(op.f("ix_lab_rules_lab_id"), "lab_rules", ["lab_id"], unique=False)
    op.create_index(op.f("ix_lab_rules_provider"), "lab_rules", ["provider"], unique=False)
    op.create_table(
        "lab_departures",
        sa.Column("lab_id", sa.String(length=40), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("ended_by", sa.String(length=200), nullable=False),
        sa.Column("ended_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["lab_id"], ["labs.id"], name=op.f("fk_lab_departures_lab_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_lab_departures_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("lab_id", "user_id", name=op.f("pk_lab_departures")),
    )
    op.create_index(op.f("ix_lab_departures_user_id"), "lab_departures", ["user_id"], unique=False)
    op.create_table(
        "linked_accounts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("sub", sa.String(length=255), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("name", sa.String(length=300), nullable=True),
        sa.Column("claims", _JSON, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("last_used_at", _INSTANT, nullable=True),
        sa.Column("sealed_refresh_token", sa.LargeBinary(), nullable=True),
        sa.Column("api_scope", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_linked_accounts_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_linked_accounts")),
        sa.UniqueConstraint("issuer", "sub", name=op.f("uq_linked_accounts_issuer_sub")),
    )
    op.create_index(op.f("ix_linked_accounts_user_id"), "linked_accounts", ["user_id"], unique=False)
    op.create_index(op.f("ix_linked_accounts_provider"), "linked_accounts", ["provider"], unique=False)
    op.create_table(
        "upstream_visits",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("stage", sa.String(length=40), nullable=False),
        sa.Column("browser", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", _INSTANT, nullable=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_upstream_visits")),
    )
    op.create_index(op.f("ix_upstream_visits_expires_at"), "upstream_visits", ["expires_at"], unique=False)
    op.create_table(
        "upstream_sessions",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("sealed_id_token", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_upstream_sessions_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_upstream_sessions")),
    )
    op.create_table(
        "kept_documents",
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("fetched_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("uri", name=op.f("pk_kept_documents")),
    )
    op.create_index(op.f("ix_kept_documents_expires_at"), "kept_documents", ["expires_at"], unique=False)


def downgrade() -> None:
    for table_name in (
        "kept_documents",
        "upstream_sessions",
        "upstream_visits",
        "linked_accounts",
        "lab_departures",
        "lab_rules",
        "providers",
    ):
        op.drop_table(table_name)
    with op.batch_alter_table("invitations") as table:
        table.drop_column("bound_to")
    for table_name in ("grants", "sessions"):
        with op.batch_alter_table(table_name) as table:
            table.drop_column("auth_time_known")
