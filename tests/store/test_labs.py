"""Labs and memberships as they are read for every token: what is kept of a row is never older than the row."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from idp.domain.lab import LabRole, LabStatus
from idp.store.store import Store
from tests.support.factories import make_lab, make_membership, make_user


async def test_a_change_of_a_lab_or_a_membership_is_read_at_once(store: Store):
    lab, membership = make_lab(), make_membership()
    async with store.write() as tx:
        await tx.users.add(make_user())
        await tx.labs.add(lab)
        await tx.memberships.add(membership)
    for changed in (lab, replace(lab, name="Life"), replace(lab, status=LabStatus.ARCHIVED), lab):
        for role in (LabRole.ADMIN, LabRole.MEMBER):
            async with store.write() as tx:
                await tx.labs.save(changed)
                await tx.memberships.save(replace(membership, role=role))
            for _ in range(2):
                (held,) = await store.find_memberships("u_alice")
                assert (held.lab, held.membership) == (changed, replace(membership, role=role))


async def test_a_word_that_no_member_of_a_closed_set_has_is_an_error_and_no_member(store: Store):
    async with store.write() as tx:
        await tx.users.add(make_user())
        await tx.labs.add(make_lab())
        await tx.memberships.add(make_membership())
    async with store.database.write() as connection:
        await connection.execute(text("UPDATE memberships SET role = 'owner'"))
    with pytest.raises(ValueError, match="'owner' is not a valid LabRole"):
        await store.find_memberships("u_alice")
