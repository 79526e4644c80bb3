"""Mail, against a server that really takes it in, with and without TLS."""

import asyncio
import datetime
import email
import email.policy
import ipaddress
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from activities.records import email as channel
from activities.records.email import CHANNEL
from firedoor.errors import BadInput, FiredoorError, Refused, Unreachable
from firedoor.model.message import Addressee
from firedoor.testing import NOW

USER, PASSWORD = "fire door", "s3cr3t:/@%"
IN_URL = "fire%20door:s3cr3t%3A%2F%40%25"


class Mailbox:
    """Takes mail in, and refuses what it was told to refuse."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []
        self.was_tls: list[bool] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.refusals: dict[str, str] = {}
        self.after_data = "250 taken"

    async def handle_RCPT(  # noqa: N802 - its name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.taken.append(envelope)
        self.was_tls.append(session.ssl is not None or server._tls_protocol is not None)
        return self.after_data

    def login(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        right = (data.login.decode(), data.password.decode()) == (USER, PASSWORD)
        return AuthResult(success=right, handled=False)

    def read(self) -> EmailMessage:
        """Return the one mail as a mail program reads it."""
        return email.message_from_bytes(b"\r\n".join(self.lines()), policy=email.policy.default)

    def lines(self) -> list[bytes]:
        """Return the one mail as it came, line by line."""
        (envelope,) = self.taken
        assert isinstance(envelope.content, bytes)
        return envelope.content.split(b"\r\n")


Start = Callable[..., str]


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def start(mailbox: Mailbox) -> Iterator[Start]:
    """Start servers on free ports, and return the host and port of each."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[asyncio.Server] = []

    async def begin(ssl_context: ssl.SSLContext | None, options: dict[str, Any]) -> str:
        def made() -> SMTP:
            return SMTP(mailbox, hostname="mail.example.com", loop=loop, **options)

        servers.append(await loop.create_server(made, "127.0.0.1", 0, ssl=ssl_context))
        return f"127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    def start(ssl_context: ssl.SSLContext | None = None, **options: Any) -> str:
        return asyncio.run_coroutine_threadsafe(begin(ssl_context, options), loop).result()

    yield start
    for server in servers:
        loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def smtp(start: Start, use: Any) -> None:
    use(smtp=f"smtp://{start()}", mail_from="firedoor@example.com")


def test_mail_says_all_that_matters(
    smtp: None, mailbox: Mailbox, message: Any, said: tuple[str, ...]
) -> None:
    delivered = CHANNEL.deliver(message())

    mail = mailbox.read()
    text = mail.get_content()
    assert [one for one in said if one not in text] == []
    assert (mail["From"], mail["To"]) == ("Firedoor <firedoor@example.com>", "alice@example.com")
    assert mail["Subject"] == "Decide on isolate: i-0aaaaaaaaaaaaaaaa"
    assert mail["Date"].datetime == NOW
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "text/plain"
    assert delivered.answer == f"{mail['Message-ID']} to 1 of 1"
    assert max(map(len, mailbox.lines())) <= 998


def test_repeat_has_the_same_id_and_another_message_another(
    smtp: None, mailbox: Mailbox, message: Any
) -> None:
    for id in ("a/1", "a/1", "a/2"):
        CHANNEL.deliver(message(id=id))

    first, again, other = (
        email.message_from_bytes(one.content)["Message-ID"] for one in mailbox.taken
    )
    assert first == again != other
    assert first.endswith("@example.com>")


def test_those_who_get_every_mail_get_it_once(
    smtp: None, use: Any, mailbox: Mailbox, message: Any
) -> None:
    use(mail_to="soc@example.com, alice@example.com,")

    CHANNEL.deliver(message())

    assert mailbox.taken[0].rcpt_tos == ["alice@example.com", "soc@example.com"]


def test_mail_for_nobody_says_which_setting_it_needs(
    smtp: None, mailbox: Mailbox, message: Any
) -> None:
    with pytest.raises(BadInput, match="FIREDOOR_MAIL_TO"):
        CHANNEL.deliver(message(to=(Addressee(name="bob"),)))

    assert mailbox.taken == []


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\u2028", "\x0b", "\x00"])
def test_no_text_becomes_a_header_or_another_mail(
    end: str, smtp: None, mailbox: Mailbox, message: Any
) -> None:
    evil = f"x{end}Bcc: mallory@example.com{end}{end}.{end}MAIL FROM:<mallory@example.com>{end}"
    to = (
        Addressee(name="a", email="alice@example.com"),
        Addressee(name="b", email=f"bob@example.com{end}Bcc: mallory@example.com"),
        Addressee(name="c", email="carol@example.com, mallory@example.com"),
        Addressee(name="d", email="Dave <mallory@example.com>"),
    )

    CHANNEL.deliver(message(id=evil, title=evil, text=evil, incident=evil, plans=(evil,), to=to))

    mail = mailbox.read()
    assert mailbox.taken[0].rcpt_tos == ["alice@example.com"]
    assert set(mail.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type",
        "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip
    assert mail["To"] == "alice@example.com"


def test_letters_of_all_scripts_arrive_and_controls_do_not(
    smtp: None, mailbox: Mailbox, message: Any
) -> None:
    CHANNEL.deliver(message(title="Größe 大きさ \u202egnp.exe \x1b[2J", text="é" * 3000))

    mail = mailbox.read()
    assert mail["Subject"] == "Größe 大きさ \\u202egnp.exe \\u001b[2J"
    assert "é" * 500 in mail.get_content()
    assert not set("\u202e\x1b") & set(mail.get_content())


def test_flood_of_text_is_cut_and_what_decides_is_not(
    smtp: None, mailbox: Mailbox, message: Any, said: tuple[str, ...]
) -> None:
    many = tuple("x" * 10_000 for _ in range(1000))

    CHANNEL.deliver(
        message(title="t" * 5000, text="y" * 10**6, plans=many, blast_radius=many, lost=many)
    )

    text = mailbox.read().get_content()
    assert [one for one in said[4:] if one not in text] == []
    assert len(text) < 100_000


def caught(deliver: Callable[[], object], kind: type[FiredoorError]) -> str:
    with pytest.raises(FiredoorError) as found:
        deliver()
    assert PASSWORD not in "".join(traceback.format_exception(found.value))
    assert found.value.__cause__ is None
    assert type(found.value) is kind
    return str(found.value)


@pytest.mark.parametrize(
    ("after_data", "kind"),
    [("451 busy\x1b", Unreachable), ("552 too much", Refused), ("554 spam", Refused)],
)
def test_mail_that_is_not_taken_is_tried_again_if_the_server_says_so(
    after_data: str, kind: type[FiredoorError], smtp: None, mailbox: Mailbox, message: Any
) -> None:
    mailbox.after_data = after_data

    told = caught(lambda: CHANNEL.deliver(message()), kind)

    assert after_data.rstrip("\x1b") in told
    assert "\x1b" not in told


@pytest.mark.parametrize(("code", "kind"), [(450, Unreachable), (550, Refused)])
def test_address_that_is_refused_alone_is_an_error(
    code: int, kind: type[FiredoorError], smtp: None, mailbox: Mailbox, message: Any
) -> None:
    mailbox.refusals["alice@example.com"] = f"{code} no"

    told = caught(lambda: CHANNEL.deliver(message()), kind)

    assert f"{code} for all 1 addresses" in told


def test_address_that_is_refused_among_others_does_not_send_the_mail_twice(
    smtp: None, use: Any, mailbox: Mailbox, message: Any
) -> None:
    use(mail_to="soc@example.com")
    mailbox.refusals["alice@example.com"] = "550 no"

    delivered = CHANNEL.deliver(message())

    assert delivered.answer.endswith("to 1 of 2")


def test_server_that_is_not_there_is_tried_again(use: Any, message: Any) -> None:
    use(smtp=f"smtp://{IN_URL}@127.0.0.1:1", mail_from="firedoor@example.com")

    assert "Connection refused" in caught(lambda: CHANNEL.deliver(message()), Unreachable)


def test_server_that_is_silent_is_tried_again(
    use: Any, receiver: Any, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It waits for a request, and we for a greeting.
    use(smtp=f"smtp://127.0.0.1:{receiver.server_port}", mail_from="firedoor@example.com")
    monkeypatch.setattr(channel, "TIMEOUT", 0.2)

    caught(lambda: CHANNEL.deliver(message()), Unreachable)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate of 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return directory / "cert.pem", directory / "key.pem"


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


@pytest.fixture
def guarded(mailbox: Mailbox, tls: ssl.SSLContext) -> dict[str, Any]:
    """A server that takes mail only after STARTTLS and a login."""
    return {
        "tls_context": tls,
        "require_starttls": True,
        "auth_required": True,
        "authenticator": mailbox.login,
    }


def test_login_and_mail_go_over_starttls(
    start: Start, guarded: Any, trusted: None, use: Any, mailbox: Mailbox, message: Any
) -> None:
    use(smtp=f"smtp://{IN_URL}@{start(**guarded)}", mail_from="firedoor@example.com")

    CHANNEL.deliver(message())

    assert mailbox.logins == [(USER.encode(), PASSWORD.encode())]
    assert mailbox.was_tls == [True]


def test_tls_at_once_works_too(
    start: Start, tls: ssl.SSLContext, trusted: None, use: Any, mailbox: Mailbox, message: Any
) -> None:
    use(smtp=f"smtps://{start(ssl_context=tls)}", mail_from="firedoor@example.com")

    CHANNEL.deliver(message())

    assert len(mailbox.taken) == 1


def test_server_that_nobody_vouches_for_gets_neither_password_nor_mail(
    start: Start, guarded: Any, use: Any, mailbox: Mailbox, message: Any
) -> None:
    use(smtp=f"smtp://{IN_URL}@{start(**guarded)}", mail_from="firedoor@example.com")

    told = caught(lambda: CHANNEL.deliver(message()), Unreachable)

    assert "certificate verify failed" in told
    assert (mailbox.logins, mailbox.taken) == ([], [])


def test_beyond_this_machine_nothing_goes_without_tls(
    start: Start, use: Any, mailbox: Mailbox, message: Any
) -> None:
    # The kernel takes 0.0.0.0 for this machine, but it is no address of loopback.
    server = start().replace("127.0.0.1", "0.0.0.0")
    use(smtp=f"smtp://{IN_URL}@{server}", mail_from="firedoor@example.com")

    told = caught(lambda: CHANNEL.deliver(message()), Refused)

    assert "no STARTTLS" in told
    assert mailbox.taken == []


def test_wrong_password_names_the_setting(
    start: Start, guarded: Any, trusted: None, use: Any, mailbox: Mailbox, message: Any
) -> None:
    use(smtp=f"smtp://fire:wrong@{start(**guarded)}", mail_from="firedoor@example.com")

    assert "FIREDOOR_SMTP" in caught(lambda: CHANNEL.deliver(message()), BadInput)
    assert mailbox.taken == []


@pytest.mark.parametrize(
    "values",
    [
        {"smtp": "mail.example.com"},
        {"smtp": "http://mail.example.com"},
        {"smtp": "smtp://"},
        {"smtp": "smtp://mail.example.com:port"},
        {"smtp": "smtp://us er:x@mail.example.com"},
        {"smtp": "smtp://user:%C3%A9@mail.example.com"},
        {"mail_from": "Firedoor <firedoor@example.com>"},
        {"mail_from": "firedoor"},
        {"mail_from": "firedoor@example.com\nBcc: mallory@example.com"},
        {"mail_to": "soc@example.com, nobody"},
    ],
)
def test_setting_of_another_form_is_named(values: dict[str, str], use: Any) -> None:
    use(smtp="smtp://mail.example.com", mail_from="firedoor@example.com")
    CHANNEL.check()
    use(**values)
    (name,) = values

    with pytest.raises(BadInput, match=f"FIREDOOR_{name.upper()}"):
        CHANNEL.check()
