"""Google, as its documentation of OpenID Connect tells: organisations (`hd`), One Tap, and access to its API.

Google vouches for every address that ends in @gmail.com, and for those of an organisation where it says which (`hd`).
An address of another provider was verified by Google once, and may belong to somebody else by now: it is not vouched
for (`email_vouched`), so it opens no organisation's door and no mailed invitation.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from idp.domain.provider import USUAL_CLAIMS
from idp.domain.upstream import UpstreamIdentity
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.protocol.upstream_id_token import Expected, judge
from idp.upstream.connector import Departure
from idp.upstream.metadata import Metadata
from idp.upstream.oidc import OidcConnector, asks_for_freshness, for_signing_out
from idp.upstream.probe import Places

# All that Google documents. It answers others with an error page of its own, from where nobody comes back.
_PROMPTS = ("none", "consent", "select_account")
_ANY_ORGANISATION = "*"
_OWN_ADDRESSES = ("@gmail.com", "@googlemail.com")
_CREDENTIALS = "Google Cloud console → Google Auth Platform → Clients → your OAuth 2.0 client"


class GoogleConnector(OidcConnector):
    """Speaks with Google, or with a provider that stands in for it."""

    places: ClassVar[Places] = Places(
        client=_CREDENTIALS,
        callback=f"{_CREDENTIALS} → Authorized redirect URIs",
        origin=f"{_CREDENTIALS} → Authorized JavaScript origins",
    )

    async def identify_by_token(self, credential: str, *, nonce: str, now: datetime) -> UpstreamIdentity:
        """Return whom the ID token of One Tap vouches for.

        Raises:
            UpstreamRefused: it is not to be believed.
        """
        async with self._conversation.turn():
            metadata = await self._metadata()
            verified = await self._verified(credential, metadata)
            identity = judge(self._repaired(verified.claims), self._expected(nonce, None), now=now)
            return for_signing_out(self._checked(identity), credential, metadata)

    def _parameters(self, departure: Departure, metadata: Metadata) -> dict[str, str]:
        asked = tuple(name for name in departure.prompt if name in _PROMPTS)
        parameters = super()._parameters(replace(departure, prompt=asked or ("select_account",)), metadata)
        if self.provider.hosted_domains:
            # It only shortens the list of accounts that Google shows: what counts is the claim.
            domains = self.provider.hosted_domains
            parameters["hd"] = domains[0] if len(domains) == 1 else _ANY_ORGANISATION
        if departure.api:
            # Not `include_granted_scopes`: the refresh token is to be good for what is asked for here, and no more.
            parameters["access_type"] = "offline"
        told = {"auth_time"} if asks_for_freshness(departure) else set()
        told |= {"amr"} if self.provider.amr or self.provider.acr else set()
        if told:
            # Documented for verified applications, though not listed in the metadata.
            wishes = {"id_token": {name: {"essential": True} for name in sorted(told)}}
            parameters["claims"] = json.dumps(wishes, separators=(",", ":"))
        return parameters

    def _expected(self, nonce: str, at_hash: str | None) -> Expected:
        # Google always says whether an address is verified.
        return replace(super()._expected(nonce, at_hash), assume_email_verified=False)

    def _lacks(self, claims: Mapping[str, Any]) -> bool:
        # What Google knows of somebody's profile is in the ID token; userinfo would only repeat it.
        wanted = set(self.provider.claims.values()) - set(USUAL_CLAIMS)
        return any(claims.get(name) is None for name in wanted) or claims.get("email") is None

    def _checked(self, identity: UpstreamIdentity) -> UpstreamIdentity:
        allowed = {domain.lower() for domain in self.provider.hosted_domains}
        hd = identity.claims.get("hd")
        organisation = hd.lower() if isinstance(hd, str) else ""
        if not allowed or (organisation and (_ANY_ORGANISATION in allowed or organisation in allowed)):
            vouched = bool(organisation) or (identity.email or "").endswith(_OWN_ADDRESSES)
            return replace(identity, email_vouched=vouched)
        raise UpstreamRefused(UpstreamFault.WRONG_DOMAIN, detail="hd is none of the hosted domains")
