"""Mail to people: an outbox, and the job that hands it to a mail server."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from idp.crypto.envelope import seal, unseal
from idp.crypto.opaque import mint_id
from idp.domain.audit import AuditAction, AuditEvent
from idp.domain.clock import Clock
from idp.domain.mail import Mail, MailPurpose
from idp.mail.mailer import Mailer, MailError, PermanentMailError
from idp.mail.server import Mailbox
from idp.mail.templates import Content, MailTemplates
from idp.observe.logs import get_logger
from idp.observe.metrics import Metrics
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.services.outbox import NotTaken, OutboxJob
from idp.store.mails import Mails
from idp.store.store import Store, Transaction

_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
# How long after each failed attempt the next one follows; after the last, or after two days, a mail is given up.
DELAYS = (timedelta(seconds=30), 2 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, *[4 * _HOUR] * 11)
GIVEN_UP_AFTER = timedelta(days=2)
# Longer than an attempt can take; see idp.mail.smtp.SECONDS.
LEASE = timedelta(minutes=5)
AT_A_TIME = 4
_log = get_logger(__name__)


class Outbox(OutboxJob[Mail]):
    """Mails that wait to be sent; `sender` is whom they are from, and `host` is where their ids are minted."""

    name = "send_mail"
    delays = DELAYS
    lease = LEASE
    at_a_time = AT_A_TIME

    def __init__(
        self,
        store: Store,
        keys: DataKeys,
        mailer: Mailer,
        templates: MailTemplates,
        clock: Clock,
        metrics: Metrics,
        *,
        sender: Mailbox,
        host: str,
    ) -> None:
        super().__init__(store, clock)
        self._keys = keys
        self._mailer = mailer
        self._templates = templates
        self._metrics = metrics
        self._sender = sender
        self._host = host

    async def put(
        self, tx: Transaction, *, to: str | None, purpose: MailPurpose, context: Mapping[str, object], now: datetime
    ) -> None:
        """Owe somebody a mail, in the transaction of its cause: it is sent exactly if that is committed.

        To nobody (`to` is None) the same is done and nothing is sent: whoever waits for the answer must not learn from
        its time whether there is anybody.

        Whoever commits calls `wake` afterwards; otherwise the mail leaves some seconds later.

        Raises:
            jinja2.UndefinedError: the context lacks a name that the templates of this purpose use.
        """
        mail_id = mint_id("m")
        document = {"to": to, **asdict(self._templates.render(purpose, context))}
        mail = Mail(
            id=mail_id,
            purpose=purpose,
            sealed=seal(self._keys.seal, json.dumps(document).encode(), associated=_place(mail_id)),
            created_at=now,
            expires_at=now + GIVEN_UP_AFTER,
            next_attempt_at=now,
        )
        nobody = replace(self._closed(mail), next_attempt_at=None, delivered_at=now)
        await tx.mails.add(nobody if to is None else mail)

    async def count(self) -> None:
        """Tell the metrics how many were given up."""
        async with self._store.read() as tx:
            self._metrics.mails_given_up(await tx.mails.count_given_up())

    def _rows(self, tx: Transaction) -> Mails:
        return tx.mails

    def _closed(self, owed: Mail) -> Mail:
        # Links in it act for whoever opens them, and nobody will read it again.
        return replace(owed, sealed=b"")

    async def _hand_over(self, owed: Mail) -> None:
        # Loaded with the first mail: a server that sends none does without the library of addresses.
        from idp.mail.message import compose

        document = json.loads(unseal(self._keys.seal, owed.sealed, associated=_place(owed.id)))
        to, content = document.pop("to"), Content(**document)
        try:
            message = compose(content, sender=self._sender, to=to, mail_id=owed.id, host=self._host, at=owed.created_at)
        except ValueError:
            raise NotTaken("no valid address", for_good=True) from None
        try:
            await self._mailer.send(message)
        except MailError as error:
            raise NotTaken(str(error), detail=error.detail, for_good=isinstance(error, PermanentMailError)) from None

    def _given_up(self, owed: Mail, attempts: int, reason: str, *, now: datetime) -> AuditEvent:
        return audit_event(
            AuditAction.MAIL_FAILED,
            actor="schedule",
            target=owed.id,
            now=now,
            succeeded=False,
            purpose=str(owed.purpose),
            attempts=attempts,
            reason=reason,
        )

    def _told(self, owed: Mail, outcome: str, attempts: int, error: NotTaken | None) -> None:
        self._metrics.mail(outcome)
        if error is not None:
            _log.warning(
                "mail.failed",
                mail=owed.id,
                purpose=str(owed.purpose),
                attempts=attempts,
                reason=error.reason,
                detail=error.detail,
                given_up=outcome == "given_up",
            )


def _place(mail_id: str) -> str:
    return f"mail:{mail_id}"
