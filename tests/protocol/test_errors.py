"""Refusals: registered codes and fixed descriptions that may stand in any header."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from idp.protocol.errors import InvalidRequest, OAuthError
from tests.support.paths import ROOT

SOURCES = [path for folder in ("protocol", "services", "web") for path in sorted((ROOT / "idp" / folder).rglob("*.py"))]
for source in SOURCES:
    # So that every subclass is known, whichever module defines it.
    import_module(".".join(source.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


def subclasses(kind: type[OAuthError]) -> Iterator[type[OAuthError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


ERRORS = sorted(set(subclasses(OAuthError)), key=lambda kind: kind.__name__)
NAMES = {kind.__name__ for kind in ERRORS}
# RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, OpenID Connect Core §3.1.2.6.
STATUS = {
    "invalid_request": 400,
    "invalid_client": 401,
    "invalid_grant": 400,
    "unauthorized_client": 400,
    "unsupported_grant_type": 400,
    "unsupported_response_type": 400,
    "invalid_scope": 400,
    "invalid_target": 400,
    "access_denied": 400,
    "login_required": 400,
    "consent_required": 400,
    "account_selection_required": 400,
    "interaction_required": 400,
    "unmet_authentication_requirements": 400,
    "invalid_request_uri": 400,
    "invalid_request_object": 400,
    "request_not_supported": 400,
    "request_uri_not_supported": 400,
    "registration_not_supported": 400,
    "invalid_token": 401,
    "insufficient_scope": 403,
    "invalid_redirect_uri": 400,
    "invalid_client_metadata": 400,
    "invalid_software_statement": 400,
    "unapproved_software_statement": 400,
    "server_error": 500,
    "temporarily_unavailable": 503,
}
# A registered code with the status of HTTP that says more (RFC 9110 §15.5.4, RFC 6585 §4).
STATUS_BY_NAME = {"RegistrationClosed": 403, "RateLimited": 429}


def descriptions(source: Path) -> Iterator[tuple[int, ast.expr]]:
    """Every description that a module gives a refusal: the first argument, or the keyword."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in NAMES:
                yield from ((node.lineno, argument) for argument in node.args)
                yield from ((node.lineno, word.value) for word in node.keywords if word.arg == "description")


GIVEN = [(f"{source.relative_to(ROOT)}:{line}", text) for source in SOURCES for line, text in descriptions(source)]


def may_be_described(text: str) -> bool:
    """Printable ASCII without quotes and backslashes, so it stands in a quoted string of a header as it is."""
    return bool(text) and all(0x20 <= ord(mark) <= 0x7E and mark not in '"\\' for mark in text)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_refusal_has_a_registered_code_and_its_status_rfc6749_s5_2(kind: type[OAuthError]):
    assert kind().status == STATUS_BY_NAME.get(kind.__name__, STATUS[kind.error])


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_default_description_is_printable_ascii_rfc6749_s4_1_2_1(kind: type[OAuthError]):
    error = kind()
    assert may_be_described(error.description)
    assert error.description[0].isupper()
    assert error.description.endswith(".")


def test_every_code_has_a_refusal_of_its_own():
    assert {kind.error for kind in ERRORS} == STATUS.keys()


def test_every_description_that_is_given_is_a_fixed_printable_sentence_rfc6749_s4_1_2_1():
    computed = []
    for place, text in GIVEN:
        if isinstance(text, ast.Constant):
            assert isinstance(text.value, str), place
            assert may_be_described(text.value), place
            assert text.value.endswith("."), place
        else:
            computed.append((place.rpartition(":")[0], ast.unparse(text)))
    # The one table that is looked up instead; tests/protocol/test_parameters.py reads every entry.
    assert computed == [("idp/protocol/parameters.py", "_MISSING.get(name)")]


def test_the_search_for_descriptions_finds_them():
    assert len(GIVEN) > 25
    assert {place.split("/")[1] for place, _ in GIVEN} >= {"protocol", "services"}


@pytest.mark.parametrize("text", ["", 'say "no"', "back\\slash", "naïve", "two\nlines", "tab\t", "\x7f", "dash – dash"])
def test_the_check_of_descriptions_refuses(text: str):
    assert not may_be_described(text)


def test_a_refusal_keeps_its_texts_apart():
    error = InvalidRequest("Something is missing.", detail="the secret reason")
    assert (error.description, error.detail, str(error)) == (
        "Something is missing.",
        "the secret reason",
        "invalid_request",
    )
    assert "reason" not in repr(error)
