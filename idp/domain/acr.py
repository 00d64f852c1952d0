"""Authentication context classes (OpenID Connect Core §2, `acr`): how surely somebody signed in."""

# A password alone, and two factors. No assurance framework is claimed.
ACR_ONE_FACTOR, ACR_TWO_FACTORS = "1", "2"
# From the weakest to the strongest.
ACR_LADDER = (ACR_ONE_FACTOR, ACR_TWO_FACTORS)


def reaches(acr: str | None, least: str) -> bool:
    """Whether an `acr` is at least as strong as another; one that is not on the ladder is weaker than all."""
    return acr in ACR_LADDER and ACR_LADDER.index(acr) >= ACR_LADDER.index(least)
