"""How surely somebody signed in."""

import pytest

from idp.domain.acr import ACR_LADDER, reaches


@pytest.mark.parametrize(
    ("acr", "least", "enough"),
    [("1", "1", True), ("2", "1", True), ("1", "2", False), (None, "1", False), ("x", "1", False)],
)
def test_a_stronger_sign_in_is_enough_for_a_weaker_demand_oidc_core_s2(acr: str | None, least: str, enough: bool):
    assert reaches(acr, least) is enough


def test_the_ladder_goes_from_the_weakest_to_the_strongest():
    assert ACR_LADDER == ("1", "2")
