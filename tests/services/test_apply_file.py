from pathlib import Path
from textwrap import dedent

import pytest

from idp.services.apply_file import ApplyFile, ApplyRefused, read_apply_files


def read(text: str | bytes, *more: str, environ: dict[str, str] | None = None) -> ApplyFile:
    files = [text if isinstance(text, bytes) else dedent(text).encode(), *(dedent(other).encode() for other in more)]
    names = ["bench.yaml", "second.yaml"]
    return read_apply_files(list(zip(names, files, strict=False)), environ or {})


def refused(text: str | bytes, *more: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ApplyRefused) as error:
        read(text, *more, environ=environ)
    return str(error.value).splitlines()


def test_a_fault_names_file_line_and_field():
    text = """\
        clients:
          - client_id: portal
            redirect_uris:
              - https://ok.example/
              - https://a.example/#x
        """
    assert refused(text) == ["bench.yaml:5: clients[0].redirect_uris[1]: it has a fragment"]


def test_all_faults_of_all_files_are_told_at_once_in_the_order_of_the_lines():
    first = """\
        users:
          - email: alice
          - {email: bob@example.org, birthdate: tomorrow}
        labs:
          - slug: Bio
        """
    assert refused(first, "labs: [{slug: me, name: A}]") == [
        "bench.yaml:2: users[0].email: it is not an e-mail address",
        "bench.yaml:3: users[1].birthdate: it must be a date such as 1990-12-31, or a year",
        "bench.yaml:5: labs[0].slug: it must be at most 39 lower-case letters and digits, "
        "with single hyphens between them",
        "bench.yaml:5: labs[0].name: it is missing",
        "second.yaml:1: labs[0].slug: it is reserved",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("provider: []", "bench.yaml:1: provider: it is not known here; did you mean providers?"),
        ("user: []", "bench.yaml:1: user: it is not known here; did you mean users?"),
        ("labs:", "bench.yaml:1: labs: it must be a list; [] is the empty one"),
        ("labs: {}", "bench.yaml:1: labs: it must be a list; [] is the empty one"),
        ("labs: [bio]", "bench.yaml:1: labs[0]: it must be a mapping of names to values"),
        ("[]", "bench.yaml:1: it must be a mapping with labs, users, memberships, clients, resources, providers"),
        ("labs: []\nlabs: []", "bench.yaml:2: labs: it stands at line 1 already"),
        ("labs: []\n---\nlabs: []", "bench.yaml:2: it is not valid YAML: a second document begins"),
        ("? [a]\n: b", "bench.yaml:1: it is not valid YAML: a name must be text"),
        ("labs: [\n", "bench.yaml:2: it is not valid YAML: did not find expected node content"),
        ("labs: !!python/object:os.system {}", "bench.yaml:1: labs: tags (!name) are not supported"),
    ],
)
def test_a_document_of_the_wrong_shape_is_refused(text: str, line: str):
    assert line in refused(text)


def test_a_duplicate_key_inside_an_item_is_refused():
    text = "labs:\n  - slug: bio\n    name: A\n    name: B\n"
    assert refused(text) == ["bench.yaml:4: labs[0].name: it stands at line 3 already"]


def test_a_fault_of_a_lab_grant_names_the_line_of_its_field():
    text = """\
        clients:
          - client_id: robot
            grant_types: [client_credentials]
            lab_grants:
              - {lab: bio}
              - lab: chem
                expires_at: soon
        """
    assert refused(text) == [
        "bench.yaml:7: clients[0].lab_grants[1].expires_at: "
        "it must be a date such as 2027-06-30, or a time such as 2027-06-30T12:00:00Z"
    ]


# ── YAML without surprises ──────────────────────────────────────────────────────────────────────────────────────────
def test_no_and_dates_and_leading_zeros_are_text():
    text = """\
        users:
          - {email: a@b.c, locale: no, birthdate: 1990-01-31, phone_number: 0043 1, name: yes}
        """
    users = read(text).users
    assert users is not None
    given = users[0].given
    assert (given.locale, given.birthdate, given.phone_number, given.name) == ("no", "1990-01-31", "0043 1", "yes")


def test_a_number_where_text_belongs_is_refused_rather_than_changed():
    text = "users:\n  - {email: a@b.c, phone_number: +431588}\n"
    assert refused(text) == ["bench.yaml:2: users[0].phone_number: it must be text; put numbers in quotes"]


def test_aliases_are_refused_so_that_none_can_grow():
    bomb = "a: &a [x, x]\n" + "\n".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]" for n in range(20)
    )
    assert any("aliases" in line for line in refused(bomb))
    assert any("aliases" in line for line in refused("labs: &a [*a]"))


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000])
def test_deep_nesting_is_refused(text: str):
    assert refused(text) == ["bench.yaml:1: it is not valid YAML: it is nested too deeply"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"labs: \xe9", b"labs: \x00", b"\x1b[2J"])
def test_bytes_that_are_no_text_are_refused(content: bytes):
    (line,) = refused(content)
    assert line.startswith("bench.yaml:1: it is not ")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "\ufefflabs: []"])
def test_an_empty_file_and_a_byte_order_mark_are_fine(text: str):
    assert read(text.encode()).users is None


# ── Sections and files ──────────────────────────────────────────────────────────────────────────────────────────────
def test_an_absent_section_is_told_from_an_empty_one():
    given = read("labs: []")
    assert given.labs == []
    assert given.clients is None


def test_files_are_merged():
    labs = read("labs: [{slug: a, name: A}]", "labs: [{slug: b, name: B}]").labs
    assert labs is not None
    assert [entry.given.slug for entry in labs] == ["a", "b"]


@pytest.mark.parametrize(
    ("one", "other", "field"),
    [
        ("labs: [{slug: a, name: A}]", "labs: [{slug: a, name: B}]", "labs[0].slug"),
        ("users: [{email: a@b.c}]", "users: [{email: A@b.c, username: x}]", "users[0].email"),
        ("users: [{email: a@b.c, username: x}]", "users: [{username: X}]", "users[0].username"),
        ("memberships: [{lab: a, user: a@b.c}]", "memberships: [{lab: a, user: A@b.c}]", "memberships[0].user"),
        (
            "clients: [{client_id: a, grant_types: [client_credentials]}]",
            "clients: [{client_id: a, redirect_uris: [https://a.example/]}]",
            "clients[0].client_id",
        ),
        (
            "resources: [{audience: urn:a, name: A, scopes: [a.read]}]",
            "resources: [{audience: urn:a, name: B, scopes: [b.read]}]",
            "resources[0].audience",
        ),
    ],
)
def test_the_same_thing_in_two_files_is_refused(one: str, other: str, field: str):
    assert refused(one, other) == [f"second.yaml:1: {field}: it stands at bench.yaml:1 already"]


# ── Secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────
CLIENT = "clients: [{{client_id: a, redirect_uris: [https://a.example/], client_secret: '{}'}}]"


def secret_of(given: ApplyFile) -> str | None:
    assert given.clients is not None
    return given.clients[0].given.client_secret


def test_a_secret_is_taken_literally_from_the_environment_or_from_a_file(tmp_path: Path):
    path = tmp_path / "secret"
    path.write_text("from-file\n")
    assert secret_of(read(CLIENT.format("literal"))) == "literal"
    assert secret_of(read(CLIENT.format("env:S"), environ={"S": "from-env"})) == "from-env"
    assert secret_of(read(CLIENT.format(f"file:{path}"))) == "from-file"


def test_a_users_password_may_come_from_the_environment():
    users = read("users: [{email: a@b.c, password: env:PW}]", environ={"PW": "correct-horse"}).users
    assert users is not None
    assert users[0].given.password == "correct-horse"


@pytest.mark.parametrize("environ", [{}, {"S": ""}])
def test_a_secret_that_the_environment_lacks_is_told_once(environ: dict[str, str]):
    text = CLIENT.format("env:S")
    assert refused(text, environ=environ) == ["bench.yaml:1: clients[0].client_secret: the environment has no S"]


def test_a_secret_file_that_cannot_be_used_is_told(tmp_path: Path):
    (line,) = refused(CLIENT.format(f"file:{tmp_path}/missing"))
    assert line.endswith("missing cannot be read: No such file or directory")
    (tmp_path / "empty").write_text("\n")
    (line,) = refused(CLIENT.format(f"file:{tmp_path}/empty"))
    assert line.endswith("is empty")
    (tmp_path / "binary").write_bytes(b"\xff")
    (line,) = refused(CLIENT.format(f"file:{tmp_path}/binary"))
    assert line.endswith("is not UTF-8")


def test_no_fault_repeats_a_secret():
    text = """\
        users:
          - {email: a@b.c, password: "geheim\\0geheim", password_hash: geheim}
        clients:
          - {client_id: a, token_endpoint_auth_method: none, redirect_uris: [https://a.example/], client_secret: geheim}
        """
    lines = refused(text)
    assert len(lines) == 3
    assert "geheim" not in "\n".join(lines)
