"""What labs cost: claims for somebody in 400 of them, and the pages of one with 100,000 members.

Run on the server's core as `labs.py claims` or `labs.py pages DATABASE_URL`; prints JSON with milliseconds by name: of
processor time for claims, of time for pages.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from idp.domain.client import Client
from idp.domain.lab import Lab, LabMembership, LabRole, Membership
from idp.domain.release import release
from idp.domain.user import User
from idp.resources import migrations_dir
from idp.services.lab_permissions import OPERATOR
from idp.services.labs import Labs
from idp.services.paging import write_cursor
from idp.setting_values import driver_url
from idp.store import migrate
from idp.store.database import Database
from idp.store.mapping import mapping_of
from idp.store.store import Store
from idp.store.words import user_words, words_of

NOW = datetime(2026, 11, 20, tzinfo=UTC)
LABS_OF_ONE, USERS, MEMBERS = 400, 150_000, 100_000
AT_A_TIME, REPETITIONS = 5000, 15
GIVEN = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "olivia", "zoe")
FAMILY = ("liddell", "smith", "jones", "mueller", "garcia", "silva", "kim", "tanaka", "novak", "rossi", "nguyen")


def lab(slug: str) -> Lab:
    return Lab(id=f"lab_{slug}", slug=slug, name=f"Laboratory {slug}", created_at=NOW)


def person(number: int, name: random.Random) -> User:
    given, family = name.choice(GIVEN), name.choice(FAMILY) + name.choice("abcdefghijklmnopqrstuvwxyz")
    return User(
        id=f"u_{name.randrange(16**24):024x}",
        email=f"{given}.{family}.{number}@example.org",
        username=f"{given}{number}",
        name=f"{given} {family}".title(),
        profile={"given_name": given.title(), "family_name": family.title(), "locale": "de-AT"},
        created_at=NOW,
        updated_at=NOW,
    )


def claims() -> dict[str, float]:
    """Release labs, groups and the profile of somebody in 400 labs."""
    user = person(1, random.Random(1))
    roles = tuple(LabRole)
    held = [
        LabMembership(
            lab=lab(f"lab-{number}"),
            membership=Membership(lab_id=f"lab_lab-{number}", user_id=user.id, role=roles[number % 3], created_at=NOW),
        )
        for number in range(LABS_OF_ONE)
    ]
    client = Client(client_id="bench", client_name="Bench", created_at=NOW, updated_at=NOW, allowed_labs="*")

    def released(**limit: int) -> float:
        began = time.process_time()
        for _ in range(100):
            release(client, ("openid", "profile", "labs", "groups"), now=NOW, user=user, memberships=held, **limit)
        return (time.process_time() - began) * 10

    limits = {"whole": {}, "for userinfo": {"max_lab_bytes": 12 * 1024}, "for a JWT": {"max_lab_bytes": 2048}}
    return {name: min(released(**limit) for _ in range(10)) for name, limit in limits.items()}


async def pages(url: str) -> dict[str, float]:
    """Fill a database; list, search and take along a large lab, one of five and one between them."""
    database = Database(driver_url(url), statement_timeout_seconds=600)
    store = Store(database)
    try:
        await migrate.upgrade(database, migrations_dir(), now=NOW)
        await fill(store)
        return await measured(Labs(store, lambda: NOW))
    finally:
        await store.close()


async def fill(store: Store) -> None:
    name = random.Random(20)
    users = [person(number, name) for number in range(USERS)]
    words = [
        {"user_id": user.id, "word": word} for user in users for word in words_of(user.email, user.username, user.name)
    ]
    memberships = [
        Membership(
            lab_id=f"lab_{slug}",
            user_id=user.id,
            role=LabRole.ADMIN if position % 1000 == 0 else LabRole.MEMBER,
            created_at=NOW,
        )
        for slug, size in (("large", MEMBERS), ("middle", 3000), ("small", 5))
        for position, user in enumerate(name.sample(users, size))
    ]
    labs = [lab(slug) for slug in ("large", "middle", "small")]
    for values in (users, labs, memberships):
        mapping = mapping_of(type(values[0]))
        await insert(store, mapping.table, list(map(mapping.to_row, values)))
    await insert(store, user_words, words)
    # As PostgreSQL does by itself a minute later.
    async with store.database.read() as connection:
        await connection.exec_driver_sql("VACUUM ANALYZE")


async def insert(store: Store, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), AT_A_TIME):
        async with store.database.write() as connection:
            await connection.execute(table.insert(), list(rows[start : start + AT_A_TIME]))


async def measured(labs: Labs) -> dict[str, float]:
    late = write_cursor(0, "zoe.")
    found: dict[str, float] = {}
    for slug in ("large", "middle", "small"):
        lists = {"first": {}, "late": {"after": late}, "admins": {"role": LabRole.ADMIN}, "export": {"limit": 100}}
        for name, options in lists.items():
            found[f"{slug}, {name}"] = await median(labs.members, OPERATOR, slug, **options)
        found[f"{slug}, count"] = await median(labs.count_members, OPERATOR, slug)
        # Everybody, many, a few in one corner of the list, few, nobody; several words alike.
        for search in ("example", "a", "zoe", "smithq", "14999", "zzqq", "alice smith", "example zzqq", "org smithq"):
            found[f"{slug}, “{search}”"] = await median(labs.members, OPERATOR, slug, search=search)
            page = await labs.members(OPERATOR, slug, search=search)
            if page.next is not None:
                found[f"{slug}, “{search}” next"] = await median(
                    labs.members, OPERATOR, slug, search=search, after=page.next
                )
    return found


async def median(page: Callable[..., Awaitable[object]], *arguments: Any, **options: Any) -> float:
    times = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        await page(*arguments, **options)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


if __name__ == "__main__":
    what, *url = sys.argv[1:]
    print(json.dumps(claims() if what == "claims" else asyncio.run(pages(*url))))
