"""Trying a provider out: what of its setup is well, and what to change where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from idp.crypto.envelope import CannotUnseal
from idp.domain.clock import Clock
from idp.domain.lab import ManagedBy
from idp.domain.provider import Provider, ProviderKind
from idp.domain.sign_up import SignUpPolicy
from idp.domain.user import AdminRole, User
from idp.services.providers import Providers
from idp.services.sign_up import SignUp
from idp.store.errors import NotFound
from idp.store.store import Store
from idp.upstream.connector import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """A provider as administrators see it; `down` is whether this process leaves it alone for a while."""

    provider: Provider
    redirect_uri: str
    down: bool
    linked_accounts: int


async def provider_states(store: Store, providers: Providers, user: User, *, now: datetime) -> Sequence[ProviderState]:
    """Return every provider, for a person with a role in the administration.

    Raises:
        NotFound: they have none.
    """
    if not user.roles:
        raise NotFound("there is nothing for whoever has no role in the administration")
    async with store.read() as tx:
        counts = await tx.linked_accounts.counts()
    return [
        ProviderState(
            provider=provider,
            redirect_uri=providers.redirect_uri(provider),
            down=providers.circuit.is_open(provider.name, now),
            linked_accounts=counts.get(provider.name, 0),
        )
        for provider in await providers.all()
    ]


def may_test(user: User) -> bool:
    """Whether a person may have a provider tried out, which asks other servers."""
    return not {AdminRole.SUPER_ADMIN, AdminRole.ADMIN}.isdisjoint(user.roles)


class ProviderTest:
    """Runs the steps of a setup test: ours first, then those of whoever speaks with the provider.

    It only reads, and signs nobody in.
    """

    def __init__(self, providers: Providers, sign_up: SignUp, clock: Clock, *, issuer: str) -> None:
        self._providers = providers
        self._sign_up = sign_up
        self._clock = clock
        self._issuer = issuer

    async def run(self, name: str) -> Sequence[Finding]:
        """Return what each step found, whether people may sign in through the provider or not.

        Raises:
            NotFound: there is no such provider.
        """
        provider = next((each for each in await self._providers.all() if each.name == name), None)
        if provider is None:
            raise NotFound(f"there is no provider {name}")
        ours = list(self._ours(provider))
        for other in await self._providers.all():
            if other.active and other.name != name and other.issuer == provider.issuer:
                ours.append(_shared(other))
        try:
            connector = self._providers.connector(provider)
        except CannotUnseal:
            text = "The client secret that is stored cannot be read."
            return [*ours, Finding(step="client secret", ok=False, text=text, advice="Apply it again.")]
        redirect_uri = self._providers.redirect_uri(provider)
        return [*ours, *await connector.probe(redirect_uri=redirect_uri, now=self._clock())]

    def _ours(self, provider: Provider) -> Iterator[Finding]:
        yield self._address()
        yield _status(provider)
        yield Finding(step="new accounts", ok=True, text=self._newcomers(provider))
        if provider.hosted_domains:
            yield Finding(step="hosted domains", ok=True, text=_hosted_domains(provider.hosted_domains))
        if provider.managed_by is ManagedBy.SETTINGS and self._providers.one_tap:
            text = "The sign-in page loads Google's own script, which works at registered origins only."
            yield Finding(step="one tap", ok=True, text=text)

    def _address(self) -> Finding:
        step = "our address"
        if self._issuer.startswith("https:"):
            return Finding(step=step, ok=True, text=f"People come back to {self._issuer}.")
        # Plain http is accepted on loopback only.
        text = f"{self._issuer} works for browsers on this machine only."
        return Finding(step=step, ok=True, text=text, advice="For others IDP_ISSUER has to be an https address.")

    def _newcomers(self, provider: Provider) -> str:
        if self._sign_up.policy is SignUpPolicy.CLOSED:
            text = "Nobody can make an account this way: people link it to the account that they have."
        elif provider.kind is ProviderKind.ORCID:
            text = "ORCID tells no e-mail address, so nobody can make an account this way: people link it to theirs."
        elif self._sign_up.policy is SignUpPolicy.OPEN:
            text = "Everybody whose address is verified there can make an account."
        elif self._sign_up.policy is SignUpPolicy.DOMAINS:
            whose = _listed(self._sign_up.domains)
            text = f"Whoever has a verified address of {whose}, or is invited into a lab, can make an account."
        else:
            text = "Whoever is invited into a lab can make an account."
        return f"{text} IDP_REGISTRATION is {self._sign_up.policy}."


def _status(provider: Provider) -> Finding:
    if provider.active:
        return Finding(step="status", ok=True, text="The sign-in page shows it.")
    text = "It is disabled, and the sign-in page does not show it."
    return Finding(step="status", ok=True, text=text, advice=f"idp provider enable {provider.name}")


def _shared(other: Provider) -> Finding:
    # Files that say so are refused; the settings may come to name the issuer of a row later.
    text = f"The provider {other.name} is the same issuer: accounts of one sign in through the other."
    advice = "Remove one of the two, or the restrictions of neither hold."
    return Finding(step="shared issuer", ok=False, text=text, advice=advice)


def _hosted_domains(domains: tuple[str, ...]) -> str:
    if "*" in domains:
        return "Accounts of any organisation may come, private ones may not."
    return f"Only accounts of {_listed(domains)} may come."


def _listed(domains: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(domains[:-1]), domains[-1])))
