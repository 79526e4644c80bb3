"""Mail, by SMTP to a server that takes it in over TLS."""

import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from activities.records._post import is_loopback, secret
from activities.records._words import headline, name, one_line, plain, shortened
from firedoor.channel import Channel
from firedoor.errors import BadInput, Refused, Unreachable
from firedoor.model.message import Delivered, Message
from firedoor.settings import settings

SERVER = "FIREDOOR_SMTP"
FROM = "FIREDOOR_MAIL_FROM"
TO = "FIREDOOR_MAIL_TO"

TIMEOUT = 10.0  # seconds, for each answer of the server

SUBMISSION, SUBMISSIONS = 587, 465
"""Where mail is handed in: STARTTLS, and TLS at once (RFC 8314)."""

SUBJECT = 200

# Narrower than RFC 5322: no quotes, comments or characters beyond ASCII, which some server on the
# way would refuse, and nothing that could be a second address.
ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250})")

EXPECTED = "smtp://user:password@host:587 or smtps://user:password@host"


class _Server(NamedTuple):
    host: str
    port: int
    is_tls: bool
    user: str
    password: str


def deliver(message: Message) -> Delivered:
    """Send one mail to all for whom the message is, and to those who get every mail.

    A repeat has the same Message-ID, by which mailboxes know it. Addresses that the server refuses
    are counted in the answer: the others have their mail, and a repeat would give it to them twice.
    """
    server, sender = _server(), _sender()
    to = tuple(_addresses(message))
    if not to:
        raise BadInput("settings", TO, "not set, and nobody whom this is for has an address")
    mail = _mail(message, sender, to)
    with _errors_of(server), _connected(server) as smtp:
        refused = smtp.send_message(mail, sender, list(to))
    said = f"{mail['Message-ID']} to {len(to) - len(refused)} of {len(to)}"
    return Delivered(channel="email", answer=said)


def check() -> None:
    """Raise `BadInput` unless there are a server and an address to send from."""
    _server(), _sender(), tuple(_standing())


CHANNEL = Channel(deliver=deliver, check=check, setting=f"{SERVER} and {FROM}")


def _server() -> _Server:
    url = secret(settings().smtp, SERVER, EXPECTED)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadInput("settings", SERVER, f"expected {EXPECTED}") from None
    if not host or parts.scheme not in {"smtp", "smtps"}:
        raise BadInput("settings", SERVER, f"expected {EXPECTED}")
    is_tls = parts.scheme == "smtps"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not (user + password).isascii():
        raise BadInput("settings", SERVER, "expected a user and a password in ASCII")
    return _Server(host, port or (SUBMISSIONS if is_tls else SUBMISSION), is_tls, user, password)


def _sender() -> str:
    expected = "an address, as in firedoor@example.com"
    sender = secret(settings().mail_from, FROM, expected)
    if not ADDRESS.fullmatch(sender):
        raise BadInput("settings", FROM, f"expected {expected}")
    return sender


def _standing() -> Iterator[str]:
    for address in (settings().mail_to or "").split(","):
        if not (address := address.strip()):
            continue
        if not ADDRESS.fullmatch(address):
            raise BadInput("settings", TO, f"{one_line(address)} is not an address")
        yield address


def _addresses(message: Message) -> Iterator[str]:
    known = (one.email for one in message.to if one.email and ADDRESS.fullmatch(one.email))
    yield from dict.fromkeys((*known, *_standing()))


def _mail(message: Message, sender: str, to: tuple[str, ...]) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Address("Firedoor", addr_spec=sender)
    mail["To"] = [Address(addr_spec=address) for address in to]
    mail["Subject"] = shortened(headline(message), SUBJECT)
    mail["Date"] = message.at
    mail["Message-ID"] = f"<{name(message.id)}@{sender.partition('@')[2]}>"
    # No holiday note is to answer this (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(plain(message), cte="quoted-printable")
    return mail


@contextmanager
def _connected(server: _Server) -> Iterator[smtplib.SMTP]:
    """Yield a session in which mail may be handed in: over TLS, but for this very machine."""
    trust = ssl.create_default_context()
    smtp = (
        smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT, context=trust)
        if server.is_tls
        else smtplib.SMTP(server.host, server.port, timeout=TIMEOUT)
    )
    try:
        smtp.ehlo_or_helo_if_needed()
        if not server.is_tls:
            if smtp.has_extn("starttls"):
                smtp.starttls(context=trust)
            elif not is_loopback(server.host):
                raise Refused(
                    f"email: {server.host} offers no STARTTLS, and without nothing is sent"
                )
        if server.user:
            smtp.login(server.user, server.password)
        yield smtp
    finally:
        with suppress(OSError, smtplib.SMTPException):
            smtp.quit()  # the mail is taken already, or it is not
        smtp.close()


@contextmanager
def _errors_of(server: _Server) -> Iterator[None]:
    """Say of what a server answers whether it may be tried again; 4xx may, 5xx not (RFC 5321)."""
    where = f"email: {server.host}"
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        if error.smtp_code < 500:
            raise Unreachable(f"{where}: {error.smtp_code} when logging in") from None
        raise BadInput(
            "settings", SERVER, f"{server.host} refuses user and password ({error.smtp_code})"
        ) from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        said = f"{where}: {' and '.join(map(str, codes))} for all {len(error.recipients)} addresses"
        raise (Unreachable if codes[0] < 500 else Refused)(said) from None
    except smtplib.SMTPConnectError as error:
        raise Unreachable(f"{where}: {error.smtp_code} when connecting") from None
    except smtplib.SMTPResponseException as error:
        said = f"{where}: {error.smtp_code} {_text(error)}"
        raise (Refused if error.smtp_code >= 500 else Unreachable)(said) from None
    except smtplib.SMTPNotSupportedError as error:
        raise Refused(f"{where}: {error}") from None
    except (smtplib.SMTPException, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Unreachable(f"{where}: {reason}") from None


def _text(error: smtplib.SMTPResponseException) -> str:
    said = error.smtp_error
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return shortened(one_line(text), 200)
