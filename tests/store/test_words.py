"""The words by which people are found."""

import pytest
from hypothesis import given

from idp.store.store import Store
from idp.store.words import MAX_WORD_CHARS, end_of, is_word, sought, words_of
from tests.support.factories import make_lab, make_membership, make_user
from tests.support.strategies import texts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, set()),
        ("", set()),
        ("%_* '\"\\ \U0001f600", set()),
        ("alice.smith+bio@example.org", {"alice", "smith", "bio", "example", "org"}),
        ("Zoë ÁLVAREZ-Löwe", {"zoe", "alvarez", "lowe"}),
        ("STRAẞE straße", {"strasse"}),
        ("ﬁnn x²", {"finn", "x2"}),
        ("山田 太郎", {"山田", "太郎"}),
        ("x" * 50, {"x" * MAX_WORD_CHARS}),
    ],
)
def test_words_have_neither_case_nor_accents(text: str | None, words: set[str]):
    assert words_of(text) == words


def test_the_longest_words_of_a_search_come_first_and_six_are_enough():
    assert sought("ab abc b a abc abcdef xyz uvw") == ["abcdef", "abc", "uvw", "xyz", "ab", "a"]


@given(texts, texts)
def test_every_word_is_one_and_stands_before_the_end_of_each_of_its_beginnings(one: str, other: str):
    for word in words_of(one, other):
        assert is_word(word)
        for length in range(1, len(word) + 1):
            begin = word[:length]
            assert begin.encode() <= word.encode() < end_of(begin).encode()
    assert words_of(one) | words_of(other) == words_of(one, other)


@pytest.mark.parametrize("text", ["", "a b", "a_b", "'", "x" * 41, "a\0"])
def test_what_is_no_word_is_told_apart(text: str):
    assert not is_word(text)


async def test_people_are_found_by_what_they_are_called_now(store: Store):
    async def found(*words: str) -> list[tuple[str, str]]:
        async with store.read() as tx:
            return [(word, member.user.id) for word, member in await tx.members.search("lab_bio", words, limit=9)]

    async with store.write() as tx:
        await tx.labs.add(make_lab())
        await tx.users.add(make_user(name="Alice Liddell", username="ali"))
        await tx.memberships.add(make_membership())
    # By the first of their words that begins so, and once.
    assert await found("al") == [("ali", "u_alice")]
    assert await found("alic") == [("alice", "u_alice")]
    assert await found("alic", "lid", "org") == [("alice", "u_alice")]
    assert await found("alic", "lie") == []
    async with store.write() as tx:
        await tx.users.save(make_user(name="Alice Hargreaves", email=None, username="ali"))
    assert await found("liddell") == await found("example") == []
    assert await found("hargreaves", "ali") == [("hargreaves", "u_alice")]
    async with store.write() as tx:
        await tx.users.delete("u_alice")
    assert await found("ali") == []


async def test_a_searchs_pages_follow_one_another_without_a_gap_or_a_repetition(store: Store):
    names = ["Al Alba", "Alba Al", "Alan", "Alma Alan", "Bo Al", "Bo"]
    async with store.write() as tx:
        await tx.labs.add(make_lab())
        for number, name in enumerate(names):
            await tx.users.add(make_user(id=f"u_{number}", email=None, name=name))
            await tx.memberships.add(make_membership(user_id=f"u_{number}"))
        whole = await tx.members.search("lab_bio", ["al"], limit=9)
        for limit in (1, 2, 3):
            pages, after = [], None
            while page := await tx.members.search("lab_bio", ["al"], after=after, limit=limit):
                pages += page
                after = page[-1][0], page[-1][1].user.id
            assert pages == whole
    assert [(word, member.user.id) for word, member in whole] == [
        ("al", "u_0"),
        ("al", "u_1"),
        ("al", "u_4"),
        ("alan", "u_2"),
        ("alan", "u_3"),
    ]
