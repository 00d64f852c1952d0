"""Text that people type: what cannot be seen, or misleads about what can, is refused."""

from typing import Any

import pytest

from idp.services.input import Email, Input, InputRefused, Lines, Text


class Named(Input):
    name: Text | None = None
    notes: Lines | None = None
    email: Email | None = None


def fault(**raw: Any) -> str | None:
    try:
        Named.read(raw)
    except InputRefused as refused:
        (text,) = refused.faults.values()
        return text
    return None


@pytest.mark.parametrize(
    "text",
    [
        "Übersicht",
        "מעבדה",
        "می\u200cخواهم",  # zero-width non-joiner
        "ක්\u200dර",  # zero-width joiner
        "👩\u200d🔬 Lab",
        "e\u0301",
        "…",
    ],
)
def test_names_of_every_language_are_taken_as_they_are(text: str):
    assert Named.read({"name": text, "notes": text}) == Named(name=text, notes=text)


@pytest.mark.parametrize(
    "mark",
    [
        "\u202a",  # left-to-right embedding
        "\u202d",  # left-to-right override
        "\u202e",  # right-to-left override
        "\u2066",  # left-to-right isolate
        "\u200e",  # left-to-right mark
        "\u200b",  # zero-width space
        "\u2060",  # word joiner
        "\u00ad",  # soft hyphen
        "\ufeff",  # byte order mark
        "\U000e0041",  # a tag
        "\u2028",  # line separator
        "\u2029",  # paragraph separator
    ],
)
@pytest.mark.parametrize("field", ["name", "notes"])
def test_marks_that_hide_or_turn_text_are_refused(field: str, mark: str):
    told = "it holds invisible characters, or some that turn the text around"
    assert fault(**{field: f"Lab{mark}Portal"}) == told


@pytest.mark.parametrize("text", ["", " ", "\u00a0\u2003", "\u200d", "\u3164", "\u2800 \u115f", "\u0301"])
@pytest.mark.parametrize("field", ["name", "notes"])
def test_a_text_in_which_nothing_can_be_seen_is_empty(field: str, text: str):
    assert fault(**{field: text}) == "it is empty"


@pytest.mark.parametrize("mark", ["\0", "\x1b", "\x7f", "\ud800"])
def test_control_characters_are_refused(mark: str):
    assert fault(name=f"a{mark}b") == fault(notes=f"a{mark}b") == "it holds control characters"


def test_only_notes_have_lines():
    assert fault(notes="one\r\ntwo") is None
    assert fault(name="one\ntwo") == "it holds control characters"


@pytest.mark.parametrize("letter", ["\N{KELVIN SIGN}", "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}"])
@pytest.mark.parametrize("address", ["{}ate@lab.example", "{}äte@lab.example", "kate@{}.example"])
def test_an_address_that_lower_case_would_make_anothers_is_refused(letter: str, address: str):
    assert fault(email=address.format(letter)) == "it holds a letter that is another one in lower case"
    assert Named.read({"email": " ÄNN@Lab.example "}).email == "änn@lab.example"
