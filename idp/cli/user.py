"""`idp user`: accounts."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from idp.cli.run import ACTOR, Json, PasswordStdin, choose_password, echo_json, group, over_store
from idp.domain.user import AdminRole

if TYPE_CHECKING:
    from idp.domain.user import User
    from idp.opening import Opened
    from idp.services.accounts import Accounts

app = group("People's accounts.")

_Who = Annotated[str, typer.Argument(metavar="USER", help="E-mail address, user name or id.")]


@app.command()
def create(
    email: Annotated[str | None, typer.Option(help="E-mail address.")] = None,
    username: Annotated[str | None, typer.Option(help="User name.")] = None,
    name: Annotated[str | None, typer.Option(help="Full name.")] = None,
    email_verified: Annotated[
        bool, typer.Option("--email-verified", help="The address is known to be theirs.")
    ] = False,
    role: Annotated[list[AdminRole] | None, typer.Option(help="Role in the administration; repeatable.")] = None,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Create an account; without --password-stdin and a terminal, a password is made up and shown once."""
    password, generated = choose_password(from_stdin=password_stdin)
    raw = {
        "email": email,
        "username": username,
        "name": name,
        "password": password,
        "email_verified": email_verified,
        "roles": role or [],
    }

    async def run(accounts: "Accounts") -> "User":
        from idp.services.accounts import UserInput

        return await accounts.create(UserInput.read(raw), actor=ACTOR)

    _show(_over_accounts(run), "created", password if generated else None, as_json=as_json)


@app.command()
def set_password(user: _Who, password_stdin: PasswordStdin = False, as_json: Json = False) -> None:
    """Replace an account's password; without --password-stdin and a terminal, one is made up and shown once."""
    password, generated = choose_password(from_stdin=password_stdin)
    changed = _over_accounts(lambda accounts: accounts.set_password(user, password, actor=ACTOR))
    _show(changed, "password set", password if generated else None, as_json=as_json)


@app.command()
def disable(user: _Who, as_json: Json = False) -> None:
    """Keep somebody out, at once: sessions and tokens stop counting."""
    _show(_over_accounts(lambda accounts: accounts.disable(user, actor=ACTOR)), "disabled", as_json=as_json)


@app.command()
def enable(user: _Who, as_json: Json = False) -> None:
    """Let somebody in again."""
    _show(_over_accounts(lambda accounts: accounts.enable(user, actor=ACTOR)), "enabled", as_json=as_json)


@app.command()
def grant_role(user: _Who, role: AdminRole, as_json: Json = False) -> None:
    """Give an account a role in the administration."""
    _show(_over_accounts(lambda accounts: accounts.grant_role(user, role, actor=ACTOR)), "changed", as_json=as_json)


@app.command()
def revoke_role(user: _Who, role: AdminRole, as_json: Json = False) -> None:
    """Take a role in the administration away."""
    _show(_over_accounts(lambda accounts: accounts.revoke_role(user, role, actor=ACTOR)), "changed", as_json=as_json)


@app.command()
def reset_mfa(user: _Who, as_json: Json = False) -> None:
    """Take somebody's second factors away who has lost them: the app and the recovery codes. They are told by mail."""

    async def run(opened: "Opened") -> "User":
        from idp.services.second_factor_setup import reset_second_factors

        issuer = opened.settings.issuer
        return await reset_second_factors(opened.store, opened.outbox, opened.clock, user, actor=ACTOR, issuer=issuer)

    _show(over_store(run), "second factors reset", as_json=as_json)


@app.command()
def sign_in_link(user: _Who, as_json: Json = False) -> None:
    """Show a link by which somebody signs in once, within fifteen minutes; hand it over yourself."""

    async def run(opened: "Opened") -> "tuple[User, str]":
        from idp.services.sign_in_link import make_link

        return await make_link(opened.store, user, issuer=opened.settings.issuer, actor=ACTOR, now=opened.clock())

    whose, url = over_store(run)
    if as_json:
        echo_json({"id": whose.id, "url": url})
        return
    typer.echo(f"signs in {whose.label} once, within 15 minutes, shown this once: {url}")


def _over_accounts(work: "Callable[[Accounts], Awaitable[User]]") -> "User":
    from idp.services.accounts import Accounts

    return over_store(
        lambda opened: work(
            Accounts(opened.store, opened.hasher, opened.clock, opened.settings.password_min_length),
        )
    )


def _show(user: "User", what: str, password: str | None = None, *, as_json: bool) -> None:
    from idp.services.export import user_document

    if as_json:
        echo_json({"id": user.id, **user_document(user), **({} if password is None else {"password": password})})
        return
    roles = f", {', '.join(user.roles)}" if user.roles else ""
    typer.echo(f"{what}: {user.label} ({user.id}, {user.status}{roles})")
    if password is not None:
        typer.echo(f"password, shown this once: {password}")
