"""Request parameters (RFC 6749 §3.1 and §3.2): once each, empty ones count as omitted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from idp.protocol.errors import InvalidRequest

# RFC 8707 §2 and RFC 8693 §2.1 allow these to be repeated.
REPEATABLE = frozenset({"resource", "audience"})


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters by name; `repeated` names those that came twice and must not."""

    values: Mapping[str, str]
    repeated: frozenset[str] = field(default=frozenset())

    def get(self, name: str) -> str | None:
        """Return the value, None when omitted or empty."""
        return self.values.get(name)

    def require(self, name: str) -> str:
        """Return the value.

        Raises:
            InvalidRequest: it is missing.
        """
        value = self.values.get(name)
        if value is None:
            raise InvalidRequest(_MISSING.get(name), detail=f"{name} is missing")
        return value

    def check_single(self) -> None:
        """Raise InvalidRequest when a parameter came twice (RFC 6749 §3.1)."""
        if self.repeated:
            names = ", ".join(sorted(self.repeated))
            raise InvalidRequest("A parameter was sent more than once.", detail=f"repeated: {names[:200]}")


# The descriptions are fixed sentences, so that nothing sent comes back.
_MISSING = {
    name: f"The parameter {name} is missing."
    for name in ("response_type", "grant_type", "code", "refresh_token", "token")
}


def parse_parameters(pairs: Iterable[tuple[str, str]]) -> Parameters:
    """Return the parameters of a query or form; those that may be repeated are joined by a space, which no URI has."""
    values: dict[str, str] = {}
    repeated = set()
    for name, value in pairs:
        if not value:
            continue
        if name not in values:
            values[name] = value
        elif name in REPEATABLE:
            values[name] += f" {value}"
        else:
            repeated.add(name)
    return Parameters(values, frozenset(repeated))
