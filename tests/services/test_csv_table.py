"""Tables as spreadsheets write them: what is read, and what is refused with the reason."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.services import csv_table
from idp.services.csv_table import read_table, write_rows
from idp.services.input import InputRefused
from tests.support.strategies import texts

HEAD = "email,role\n"
ALICE = [(2, {"email": "alice@example.org", "role": "member"})]


def read(content: str | bytes) -> list[tuple[int, dict[str, str]]]:
    raw = content if isinstance(content, bytes) else content.encode()
    return [
        (row.line, dict(row.cells) if row.fault is None else row.fault)
        for row in read_table(raw, required=("email", "role"), optional=("expires_at",))
    ]


@pytest.mark.parametrize(
    "content",
    [
        "email,role\nalice@example.org,member\n",
        "email,role\r\nalice@example.org,member\r\n",
        "email,role\ralice@example.org,member\r",
        "email;role\nalice@example.org;member",
        "email\trole\nalice@example.org\tmember\n\n\n",
        'role,email\nmember,"alice@example.org"\n',
        " Role ,EMAIL\n member , alice@example.org \n,\n",
        b"\xef\xbb\xbfemail,role\nalice@example.org,member\n",
    ],
)
def test_a_table_is_read_however_spreadsheets_write_it(content: str | bytes):
    assert read(content) == ALICE


def test_rows_are_known_by_the_lines_that_they_begin_on():
    assert [line for line, _ in read(f'\n{HEAD}\na@b.org,"of two\nlines"\n\nc@d.org,member\n')] == [4, 7]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is empty"),
        (b"\n \n,,\n", "it is empty"),
        (HEAD, "it holds no rows"),
        ("email,role\n".encode("utf-16"), "UTF-16 perhaps: save it as"),
        ("email,role\n".encode("utf-16-be"), "UTF-16 perhaps"),
        (f"{HEAD}a@b.org,member\nmüller@b.org,member\n".encode("latin-1"), "line 3 is not UTF-8: save it as"),
        ("email\nalice@example.org\n", "its first line lacks role; it must name the columns, such as email,role"),
        ("alice@example.org,member\n", "column 1 of its first line: it is not known here"),
        ("email,rolle\n", "column 2 of its first line: it is not known here; did you mean role?"),
        ("email,role,email\n", "its first line names email twice"),
        (f'{HEAD}a@b.org,"member\n', "line 2 cannot be read: look at its quotation marks"),
        (f'{HEAD}a@b.org,member\n"a"@b.org,member\n', "line 3 cannot be read"),
        (f"{HEAD}{'x' * 200_000},member\n", "line 2 cannot be read"),
        (HEAD + "a,b\n" * 5001, "it must have at most 5000 rows"),
        (HEAD + " " * csv_table.MAX_BYTES, "it must have at most 1024 KiB"),
    ],
)
def test_what_is_no_such_table_is_refused_with_the_reason(content: str | bytes, fault: str):
    with pytest.raises(InputRefused) as refused:
        read(content)
    assert fault in refused.value.faults["file",]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("a@b.org", "it has 1 cells, and the first line names 2"),
        ("a@b.org,member,", "it has 3 cells, and the first line names 2"),
        ("=cmd|' /C calc'!A0,member", "email: a spreadsheet would take it for a formula; put ' before it"),
        ("a@b.org, +member", "role: a spreadsheet would take it for a formula"),
        ("-a@b.org,member", "email: a spreadsheet"),
        ("@b.org,member", "email: a spreadsheet"),
        ('"\ta@b.org",member', "email: a spreadsheet"),
        ('"\ra@b.org",member', "email: a spreadsheet"),
    ],
)
def test_a_row_that_cannot_be_read_does_not_hide_the_others(row: str, fault: str):
    (_, first), second = read(f"{HEAD}{row}\nalice@example.org,member\n")
    assert first.startswith(fault)
    assert second[1] == ALICE[0][1]


def test_a_mark_before_what_would_be_a_formula_is_taken_off():
    cells = [row["email"] for _, row in read(f"{HEAD}'+a@b.org,x\n'o@b.org,x\n''o@b.org,x\n','x\n")]
    assert cells == ["+a@b.org", "'o@b.org", "'o@b.org", "'"]


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_what_is_written_calculates_nothing_and_is_read_as_it_was(rows: list[tuple[str, str]]):
    rows = [(first.strip() or "a", second.strip()) for first, second in rows]
    written = write_rows([("email", "role"), *rows])
    for cell in (cell for row in csv.reader(io.StringIO(written, newline="")) for cell in row):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert [(row["email"], row["role"]) for _, row in read(written)] == rows
