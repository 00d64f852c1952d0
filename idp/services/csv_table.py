"""Tables as spreadsheets write and read them (RFC 4180): separators, encodings, and cells that would be formulas."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from idp.services.input import InputRefused, unknown_name

MAX_BYTES = 1024 * 1024
MAX_ROWS = 5000
_SEPARATORS = ",;\t"
# What makes a spreadsheet calculate a cell instead of showing it.
_FORMULA = frozenset("=+-@\t\r")
_SAVE_AS = "save it as “CSV UTF-8”"


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row by the names of its columns, and the line that it begins on; or why it cannot be read."""

    line: int
    cells: Mapping[str, str]
    fault: str | None = None


def read_table(content: bytes, *, required: Sequence[str], optional: Sequence[str] = ()) -> list[CsvRow]:
    """Return the rows of a table whose first line names its columns, in whatever order; empty lines are skipped.

    Raises:
        InputRefused: it is too large, not UTF-8, no table, or has other columns.
    """
    if len(content) > MAX_BYTES:
        raise _refused(f"it must have at most {MAX_BYTES // 1024} KiB")
    lines = io.StringIO(_decoded(content), newline="")
    head = lines.readline()
    lines.seek(0)
    reader = csv.reader(lines, delimiter=max(_SEPARATORS, key=head.count), strict=True)
    rows: list[CsvRow] = []
    names: list[str] = []
    begins = 1
    try:
        for cells in reader:
            if not any(map(str.strip, cells)):
                pass
            elif not names:
                names = _checked_names(cells, required, optional)
            elif len(rows) == MAX_ROWS:
                raise _refused(f"it must have at most {MAX_ROWS} rows")
            else:
                rows.append(_row(begins, names, cells))
            begins = reader.line_num + 1
    except csv.Error:
        raise _refused(f"line {begins} cannot be read: look at its quotation marks") from None
    if not rows:
        raise _refused("it holds no rows" if names else "it is empty")
    return rows


def write_rows(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as lines of a table; what a spreadsheet would take for a formula gets a `'` before it."""
    lines = io.StringIO()
    csv.writer(lines).writerows([_escaped(cell) for cell in row] for row in rows)
    return lines.getvalue()


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise _refused(f"it is not UTF-8, but UTF-16 perhaps: {_SAVE_AS}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(f"line {line} is not UTF-8: {_SAVE_AS}") from None


def _checked_names(cells: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    known = (*required, *optional)
    for number, name in enumerate(names, 1):
        if name not in known:
            raise _refused(f"column {number} of its first line: {unknown_name(name, known)}")
        if names.index(name) != number - 1:
            raise _refused(f"its first line names {name} twice")
    for name in required:
        if name not in names:
            raise _refused(f"its first line lacks {name}; it must name the columns, such as {','.join(known)}")
    return names


def _row(line: int, names: Sequence[str], cells: Sequence[str]) -> CsvRow:
    if len(cells) != len(names):
        return CsvRow(line, {}, f"it has {len(cells)} cells, and the first line names {len(names)}")
    values = {}
    for name, cell in zip(names, cells, strict=True):
        text = cell.strip(" ")
        if text[:1] in _FORMULA:
            return CsvRow(line, {}, f"{name}: a spreadsheet would take it for a formula; put ' before it")
        escaped = text.startswith("'") and (text[1:2] in _FORMULA or text[1:2] == "'") and len(text) > 1
        values[name] = (text[1:] if escaped else text).strip()
    return CsvRow(line, values)


def _escaped(cell: str) -> str:
    # The mark itself too, so that what is read is what was written.
    return f"'{cell}" if cell[:1] in _FORMULA or cell.startswith("'") else cell


def _refused(fault: str) -> InputRefused:
    return InputRefused({("file",): fault})
