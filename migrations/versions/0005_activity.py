"""What somebody did, and what was done to their account, is found without reading the whole audit log."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_audit_events_actor_at"), "audit_events", ["actor", "at"], unique=False)
    op.create_index(op.f("ix_audit_events_target_at"), "audit_events", ["target", "at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_audit_events_target_at"), table_name="audit_events")
    op.drop_index(op.f("ix_audit_events_actor_at"), table_name="audit_events")
