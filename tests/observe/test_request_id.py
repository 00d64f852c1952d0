"""Request ids: made at random, taken over only when harmless, one per request."""

import asyncio

import pytest

from idp.observe.request_id import current_request_id, is_request_id, new_request_id, request_id


def test_a_new_request_id_is_16_hexadecimal_digits_and_acceptable_itself() -> None:
    made = new_request_id()
    assert len(made) == 16
    assert int(made, 16) >= 0
    assert is_request_id(made)


def test_new_request_ids_differ() -> None:
    assert len({new_request_id() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", ["a", "7d4f.A_b-9", "x" * 64])
def test_a_short_plain_incoming_id_is_acceptable(text: str) -> None:
    assert is_request_id(text)


@pytest.mark.parametrize("text", ["", "x" * 65, "a b", "a\n", "a\nb", "\x1b[31m", "a=b", "ä", "٣", "a,b", "<b>"])
def test_any_other_incoming_id_is_not(text: str) -> None:
    assert not is_request_id(text)


async def test_each_task_has_its_own_request_id() -> None:
    async def serve(name: str) -> str | None:
        request_id.set(name)
        await asyncio.sleep(0)
        return current_request_id()

    assert list(await asyncio.gather(serve("a"), serve("b"))) == ["a", "b"]
    assert current_request_id() is None
