"""Response types."""

import pytest

from idp.domain.client import GrantType
from idp.protocol.response_type import RESPONSE_TYPES, canonical_response_type, grant_types_of


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("code", "code"),
        ("token id_token", "id_token token"),
        ("token id_token code", "code id_token token"),
        ("id_token code", "code id_token"),
        ("token", None),
        ("none", None),
        ("", None),
        ("code code", None),
        (" code", None),
        ("CODE", None),
    ],
)
def test_the_order_of_the_words_says_nothing_oauth_multiple_response_types_s5(raw: str, canonical: str | None):
    assert canonical_response_type(raw) == canonical


def test_each_response_type_goes_with_its_grant_types_oidc_registration_s2():
    code, implicit = GrantType.AUTHORIZATION_CODE, GrantType.IMPLICIT
    expected = [{code}, {implicit}, {implicit}, {code, implicit}, {code, implicit}, {code, implicit}]
    assert list(map(grant_types_of, RESPONSE_TYPES)) == expected
