"""Signed requests to AWS STS: they say who somebody is, for one word, and open nothing else.

The emulator takes every signature, so what depends on it is tested against a small server that
recomputes the signature with botocore, and refuses an old date, as AWS does. AWS was not asked.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from firedoor.approvals import sts
from firedoor.errors import BadInput, Unreachable
from firedoor.lab.server import EmulatedAws
from firedoor.model.word import StsRequest

DIGEST, OTHER = "a" * 64, "b" * 64
REGION = "eu-west-1"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ARN = "arn:aws:sts::123456789012:assumed-role/responder/alice"
SPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass
class Checking:
    """An STS that checks the signature and the date, and notes what it was sent."""

    host: str = ""
    now: datetime | None = None
    status: int = 200
    body: str = ""
    received: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.received.append(f"{request.method} {request.path_qs} {body.decode()}")
        if self.body or self.status != 200:
            return web.Response(text=self.body, status=self.status, headers={"Location": "/again"})
        if code := self._wrong(request, body):
            error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error>"
            return web.Response(
                text=f'<ErrorResponse xmlns="{SPACE}">{error}</ErrorResponse>', status=403
            )
        result = f"<GetCallerIdentityResult><Arn>{ARN}</Arn></GetCallerIdentityResult>"
        return web.Response(
            text=f'<GetCallerIdentityResponse xmlns="{SPACE}">{result}</GetCallerIdentityResponse>'
        )

    def _wrong(self, request: web.Request, body: bytes) -> str:
        said = request.headers["Authorization"]
        parts = dict(part.split("=", 1) for part in said.split(" ", 1)[1].split(", "))
        signed = {name: request.headers[name] for name in parts["SignedHeaders"].split(";")}
        again = AWSRequest(request.method, f"http://{self.host}{request.path_qs}", signed, body)
        again.context["timestamp"] = signed["x-amz-date"]
        auth = SigV4Auth(Credentials(KEY, SECRET), "sts", parts["Credential"].split("/")[2])
        text = auth.string_to_sign(again, auth.canonical_request(again))
        if auth.signature(text, again) != parts["Signature"]:
            return "SignatureDoesNotMatch"
        at = datetime.strptime(signed["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        age = (self.now or datetime.now(UTC)) - at
        return "RequestExpired" if abs(age) > timedelta(minutes=15) else ""


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Checking]:
    """A strict STS, to which the SDK is led."""
    made = Checking()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.host = f"127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://{made.host}")
    yield made
    await runner.cleanup()


def proof(secret: str = SECRET, token: str | None = None) -> StsRequest:
    return sts.make(boto3.Session(KEY, secret, token, region_name=REGION), REGION, DIGEST)


def changed(request: StsRequest, **headers: str | None) -> StsRequest:
    """Return a request with other headers; their names have dashes for underscores."""
    new = {name.replace("_", "-"): value for name, value in headers.items()}
    merged = {**request.headers, **new}
    return request.model_copy(
        update={"headers": {name: value for name, value in merged.items() if value is not None}}
    )


@pytest.mark.parametrize("token", [None, "FwoGZXIvYXdzEXAMPLE//token+="])
async def test_sts_says_who_signed_for_the_word(server: Checking, token: str | None) -> None:
    who = await sts.ask(proof(token=token), DIGEST, sts.hosts())

    assert who == ARN
    assert server.received == ["POST / Action=GetCallerIdentity&Version=2011-06-15"]


async def test_the_emulator_says_who_signed_for_the_word(lab: EmulatedAws) -> None:
    signed = sts.make(boto3.Session(region_name=REGION), REGION, DIGEST)

    assert signed.url == f"{lab.endpoint}/"
    who = await sts.ask(signed, DIGEST, sts.hosts())
    assert who == boto3.client("sts").get_caller_identity()["Arn"]


async def test_a_login_in_netrc_is_sent_to_nobody(
    server: Checking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login root password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    assert await sts.ask(proof(), DIGEST, sts.hosts()) == ARN


async def test_a_stranger_to_the_secret_proves_nothing(server: Checking) -> None:
    with pytest.raises(ValueError, match="HTTP 403 SignatureDoesNotMatch"):
        await sts.ask(proof("guessed"), DIGEST, sts.hosts())


async def test_a_digest_put_in_afterwards_proves_nothing(server: Checking) -> None:
    moved = changed(proof(), X_Firedoor_Decision=OTHER)

    with pytest.raises(ValueError, match="HTTP 403 SignatureDoesNotMatch"):
        await sts.ask(moved, OTHER, sts.hosts())


async def test_an_old_request_proves_nothing(server: Checking) -> None:
    server.now = datetime.now(UTC) + timedelta(minutes=16)

    with pytest.raises(ValueError, match="HTTP 403 RequestExpired"):
        await sts.ask(proof(), DIGEST, sts.hosts())


async def test_a_request_for_another_word_is_not_sent(server: Checking) -> None:
    with pytest.raises(ValueError, match="for another word"):
        await sts.ask(proof(), OTHER, sts.hosts())
    assert server.received == []


async def test_a_request_that_is_bound_to_no_word_is_not_sent(server: Checking) -> None:
    # What `aws sts get-caller-identity` itself would send, with our header added unsigned.
    bare = AWSRequest(
        "POST", f"http://{server.host}/", {"Content-Type": sts.CONTENT_TYPE}, data=sts.BODY
    )
    SigV4Auth(Credentials(KEY, SECRET), "sts", REGION).add_auth(bare)
    stolen = StsRequest(url=str(bare.url), headers={**bare.headers, sts.DECISION: DIGEST})

    with pytest.raises(ValueError, match="does not cover X-Firedoor-Decision"):
        await sts.ask(stolen, DIGEST, sts.hosts())
    assert server.received == []


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "https://evil.example.com/",
        "https://sts.eu-west-1.amazonaws.com.evil.example.com/",
        "https://sts.eu-west-1.amazonaws.com@evil.example.com/",
        "https://evil.example.com#@sts.eu-west-1.amazonaws.com/",
        "https://evil.example.com\\@sts.eu-west-1.amazonaws.com/",
        "https://user:pass@sts.eu-west-1.amazonaws.com/",
        "https://sts.eu-west-1.amazonaws.com:8443/",
        "https://sts.eu-west-1.amazonaws.com:443/",
        "https://sts.eu-west-1.amazonaws.com",
        "https://sts.eu-west-1.amazonaws.com/x",
        "https://sts.eu-west-1.amazonaws.com//",
        "https://sts.eu-west-1.amazonaws.com/?Action=AssumeRole",
        "https://sts.eu-west-1.amazonaws.com/#x",
        "https://STS.eu-west-1.amazonaws.com/",
        "https://sts.eu-west-1.amazonaws.com\t/",
        "https://sts.\neu-west-1.amazonaws.com/",
        "https://sts.nowhere-1.amazonaws.com/",
        "https://sts.eu-west-1.amazonaws.com.cn/",
        "http://sts.eu-west-1.amazonaws.com/",
        "HTTPS://sts.eu-west-1.amazonaws.com/",
        "https://iam.amazonaws.com/",
        "http://127.0.0.1:1/",
        "file:///etc/passwd",
        "",
    ],
)
async def test_a_request_to_anywhere_else_is_not_sent(server: Checking, url: str) -> None:
    with pytest.raises(ValueError, match="not for an endpoint of AWS STS that we ask"):
        await sts.ask(proof().model_copy(update={"url": url}), DIGEST, sts.hosts())


async def test_another_action_in_the_query_is_not_sent(server: Checking) -> None:
    asked = proof()
    more = asked.model_copy(update={"url": f"{asked.url}?Action=AssumeRole"})

    with pytest.raises(ValueError, match="not for an endpoint"):
        await sts.ask(more, DIGEST, sts.hosts())
    assert server.received == []


async def test_a_signed_get_does_not_pass_as_our_post(server: Checking) -> None:
    get = AWSRequest(
        "GET",
        f"http://{server.host}/",
        {"Content-Type": sts.CONTENT_TYPE, sts.DECISION: DIGEST},
        data=sts.BODY,
    )
    SigV4Auth(Credentials(KEY, SECRET), "sts", REGION).add_auth(get)

    with pytest.raises(ValueError, match="HTTP 403 SignatureDoesNotMatch"):
        await sts.ask(StsRequest(url=str(get.url), headers=dict(get.headers)), DIGEST, sts.hosts())


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Host": "evil.example.com"}, "headers that it should not have"),
        ({"X_Amz_Target": "x"}, "headers that it should not have"),
        ({"Transfer_Encoding": "chunked"}, "headers that it should not have"),
        ({"x_firedoor_decision": OTHER}, "headers that it should not have"),
        ({"authorization": "x"}, "headers that it should not have"),
        ({"X_Amz_Security_Token": "unsigned"}, "signature does not cover"),
        ({"X_Amz_Date": None}, "lacks one of the headers"),
        ({"X_Firedoor_Decision": None}, "lacks one of the headers"),
        ({"Authorization": None}, "lacks one of the headers"),
        ({"X_Firedoor_Decision": f"{DIGEST}\r\nHost: evil"}, "no header may hold"),
        ({"X_Amz_Date": ""}, "no header may hold"),
        ({"X_Amz_Date": "x" * 9000}, "no header may hold"),
        ({"X_Amz_Date": "\uff12\uff10"}, "no header may hold"),
        ({"Content_Type": "application/json"}, "Content-Type is not"),
        ({"Authorization": "Bearer x"}, "not a signature of version 4"),
    ],
)
async def test_a_request_with_other_headers_is_not_sent(
    server: Checking, headers: dict[str, str | None], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        await sts.ask(changed(proof(), **headers), DIGEST, sts.hosts())
    assert server.received == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("/sts/", "/iam/", "not a signature of version 4 for STS"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "not a signature of version 4"),
        ("SignedHeaders=", "SignedHeaders=x;", "does not cover"),
        (";x-firedoor-decision", "", "does not cover"),
        (";x-firedoor-decision", ";x-other", "does not cover"),
        (";x-firedoor-decision", ";x-firedoor-decision;x-firedoor-decision", "does not cover"),
        ("host;", "", "does not cover"),
        ("SignedHeaders=", "SignedHeaders=x-firedoor-decision, SignedHeaders=", "not a signature"),
        (", Signature=", ",Signature=", "not a signature of version 4"),
    ],
)
async def test_an_authorization_that_is_anyhow_different_is_not_sent(
    server: Checking, old: str, new: str, reason: str
) -> None:
    good = proof()
    said = good.headers["Authorization"]
    assert old in said

    with pytest.raises(ValueError, match=reason):
        await sts.ask(changed(good, Authorization=said.replace(old, new, 1)), DIGEST, sts.hosts())
    assert server.received == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, "no"),
        (503, ""),
        (429, ""),
        (400, "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>"),
    ],
)
async def test_an_sts_that_cannot_answer_now_is_unreachable(
    server: Checking, status: int, body: str
) -> None:
    server.status, server.body = status, body

    with pytest.raises(Unreachable, match=server.host):
        await sts.ask(proof(), DIGEST, sts.hosts())


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (302, "", "HTTP 302"),
        (404, "not xml", "HTTP 404"),
        (200, "not xml", "names nobody"),
        (200, "<html/>", "names nobody"),
        (200, "x" * (1 << 17), "names nobody"),
        (
            200,
            "<A><GetCallerIdentityResult><Arn>x</Arn></GetCallerIdentityResult></A>",
            "names nobody",
        ),
    ],
)
async def test_an_answer_that_names_nobody_proves_nothing(
    server: Checking, status: int, body: str, reason: str
) -> None:
    server.status, server.body = status, body

    with pytest.raises(ValueError, match=reason):
        await sts.ask(proof(), DIGEST, sts.hosts())
    assert len(server.received) == 1


async def test_an_sts_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        await sts.ask(proof(), DIGEST, sts.hosts())


@pytest.mark.parametrize("style", ["regional", "legacy"])
def test_without_an_endpoint_of_ones_own_a_request_is_for_the_region(
    monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", style)
    session = boto3.Session(KEY, SECRET)

    urls = {sts.make(session, region, DIGEST).url for region in (REGION, "cn-north-1")}
    assert urls == {
        "https://sts.eu-west-1.amazonaws.com/",
        "https://sts.cn-north-1.amazonaws.com.cn/",
    }
    assert {url.removeprefix("https://").removesuffix("/") for url in urls} <= sts.hosts()


def test_an_endpoint_with_a_path_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "https://gateway.example.com/sts")

    with pytest.raises(BadInput, match=r"AWS: endpoint .*/sts: expected"):
        proof()


def test_without_credentials_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(BadInput, match="AWS: credentials: there are none"):
        sts.make(boto3.Session(), REGION, DIGEST)
