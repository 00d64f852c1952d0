"""Labs that run themselves: profiles, invitations, requests to join, grants to services, consent by lab, mail."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

# What the code looks up is what it has to find.
from idp.store.words import words_of

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_INSTANT = sa.DateTime(timezone=True)
_WORD = sa.String(length=40).with_variant(sa.String(length=40, collation="C"), "postgresql")
_AT_A_TIME = 2000


def upgrade() -> None:
    # Empty, or with a default of the server's own: the previous release goes on inserting rows without them.
    for table_name in ("labs", "lab_tombstones"):
        with op.batch_alter_table(table_name) as table:
            # 39 letters and digits may have 38 hyphens between them.
            table.alter_column("slug", type_=sa.String(80), existing_type=sa.String(40), existing_nullable=False)
    op.add_column("labs", sa.Column("logo_uri", sa.Text(), nullable=True))
    op.add_column("labs", sa.Column("admin_acr", sa.String(length=300), nullable=True))
    op.add_column("labs", sa.Column("accepts_join_requests", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("labs", sa.Column("join_requests_told_at", _INSTANT, nullable=True))
    op.add_column("memberships", sa.Column("reminded_of", _INSTANT, nullable=True))
    op.create_index(op.f("ix_memberships_expires_at"), "memberships", ["expires_at"], unique=False)
    op.create_index(
        op.f("ix_memberships_lab_id_role_user_id"), "memberships", ["lab_id", "role", "user_id"], unique=False
    )
    op.create_index(op.f("ix_users_email_username_id"), "users", ["email", "username", "id"], unique=False)
    op.create_table(
        "user_words",
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("word", _WORD, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_words_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "word", name=op.f("pk_user_words")),
    )
    _index_words()
    op.create_index(op.f("ix_user_words_word_user_id"), "user_words", ["word", "user_id"], unique=False)
    op.add_column("consents", sa.Column("labs", _JSON, nullable=True))
    op.add_column("grants", sa.Column("labs", _JSON, nullable=True))
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("lab_id", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("invited_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("ends_at", _INSTANT, nullable=True),
        sa.Column("answered_by", sa.String(length=40), nullable=True),
        sa.Column("accepted_at", _INSTANT, nullable=True),
        sa.Column("declined_at", _INSTANT, nullable=True),
        sa.Column("revoked_at", _INSTANT, nullable=True),
        sa.ForeignKeyConstraint(["lab_id"], ["labs.id"], name=op.f("fk_invitations_lab_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("hash", name=op.f("uq_invitations_hash")),
    )
    op.create_index(
        op.f("ix_invitations_lab_id_created_at_id"), "invitations", ["lab_id", "created_at", "id"], unique=False
    )
    op.create_index(op.f("ix_invitations_email"), "invitations", ["email"], unique=False)
    op.create_index(op.f("ix_invitations_expires_at"), "invitations", ["expires_at"], unique=False)
    op.create_table(
        "join_requests",
        sa.Column("lab_id", sa.String(length=40), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("denied_at", _INSTANT, nullable=True),
        sa.Column("withdrawn_at", _INSTANT, nullable=True),
        sa.ForeignKeyConstraint(["lab_id"], ["labs.id"], name=op.f("fk_join_requests_lab_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_join_requests_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("lab_id", "user_id", name=op.f("pk_join_requests")),
    )
    op.create_index(op.f("ix_join_requests_user_id"), "join_requests", ["user_id"], unique=False)
    op.create_index(
        op.f("ix_join_requests_lab_id_created_at_user_id"),
        "join_requests",
        ["lab_id", "created_at", "user_id"],
        unique=False,
    )
    op.create_table(
        "lab_grants",
        sa.Column("client_id", sa.String(length=2048), nullable=False),
        sa.Column("lab_id", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("granted_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("managed_by", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.client_id"], name=op.f("fk_lab_grants_client_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["lab_id"], ["labs.id"], name=op.f("fk_lab_grants_lab_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("client_id", "lab_id", name=op.f("pk_lab_grants")),
    )
    op.create_index(op.f("ix_lab_grants_lab_id"), "lab_grants", ["lab_id"], unique=False)
    op.create_table(
        "lab_logos",
        sa.Column("lab_id", sa.String(length=40), nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("fetched_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["lab_id"], ["labs.id"], name=op.f("fk_lab_logos_lab_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("lab_id", name=op.f("pk_lab_logos")),
    )
    op.create_index(op.f("ix_lab_logos_digest"), "lab_logos", ["digest"], unique=False)
    op.create_table(
        "mails",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _INSTANT, nullable=True),
        sa.Column("claimed_until", _INSTANT, nullable=True),
        sa.Column("delivered_at", _INSTANT, nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
    )
    op.create_index(op.f("ix_mails_next_attempt_at"), "mails", ["next_attempt_at"], unique=False)
    op.create_index(op.f("ix_mails_expires_at"), "mails", ["expires_at"], unique=False)


def _index_words() -> None:
    """Let everybody be found; whom the previous release still adds meanwhile is found once their account is saved."""
    connection, last = op.get_bind(), ""
    users = sa.table("users", *map(sa.column, ("id", "email", "username", "name")))
    words = sa.table("user_words", sa.column("user_id"), sa.column("word"))
    page = sa.select(users).where(users.c.id > sa.bindparam("last")).order_by(users.c.id).limit(_AT_A_TIME)
    while rows := connection.execute(page, {"last": last}).all():
        found = [{"user_id": id, "word": word} for id, *texts in rows for word in sorted(words_of(*texts))]
        if found:
            connection.execute(words.insert(), found)
        last = rows[-1].id


def downgrade() -> None:
    op.drop_table("mails")
    op.drop_table("lab_logos")
    op.drop_table("lab_grants")
    op.drop_table("join_requests")
    op.drop_table("invitations")
    for table_name, columns in {
        "grants": ("labs",),
        "consents": ("labs",),
        "labs": ("join_requests_told_at", "accepts_join_requests", "admin_acr", "logo_uri"),
    }.items():
        with op.batch_alter_table(table_name) as table:
            for column in columns:
                table.drop_column(column)
    op.drop_table("user_words")
    op.drop_index(op.f("ix_users_email_username_id"), table_name="users")
    op.drop_index(op.f("ix_memberships_lab_id_role_user_id"), table_name="memberships")
    op.drop_index(op.f("ix_memberships_expires_at"), table_name="memberships")
    with op.batch_alter_table("memberships") as table:
        table.drop_column("reminded_of")
