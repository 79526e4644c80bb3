"""ID tokens: what an identity provider signs for one word counts, and nothing else does.

The provider is a small one of the tests, over real HTTP on loopback; its tokens and keys have the
form of the standards. No public provider was asked.
"""

import asyncio
import base64
import hmac
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from firedoor.approvals import identity_provider, oidc
from firedoor.errors import BadInput, Unreachable
from firedoor.model.responder import Issuer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NONCE = "a" * 64
ISSUER = Issuer(issuer="https://id.example.com", audience="firedoor")
RSA, OTHER_RSA = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, Any] = {"RS256": RSA, "PS256": RSA, "ES256": EC, "EdDSA": ED}


def claims(**changed: Any) -> dict[str, Any]:
    """Return the claims of a good token, but for some."""
    said = {
        "iss": ISSUER.issuer,
        "aud": ISSUER.audience,
        "sub": "248289761001",
        "nonce": NONCE,
        "iat": NOW.timestamp() - 10,
        "exp": NOW.timestamp() + 300,
    }
    return {name: value for name, value in {**said, **changed}.items() if value is not None}


def token(algorithm: str = "ES256", key: Any = None, header: Any = None, **changed: Any) -> str:
    """Return a token as a provider would issue it."""
    return jwt.encode(
        claims(**changed), key or KEYS[algorithm], algorithm, {"kid": "1", **(header or {})}
    )


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """Return the public half of a key as a provider publishes it."""
    kinds: list[tuple[Any, Any]] = [
        (RSAAlgorithm, rsa.RSAPrivateKey),
        (ECAlgorithm, ec.EllipticCurvePrivateKey),
        (OKPAlgorithm, ed25519.Ed25519PrivateKey),
    ]
    kind = next(kind for kind, of in kinds if isinstance(key, of))
    public = json.loads(kind.to_jwk(key.public_key()))
    public.pop("key_ops", None)
    return {**public, "kid": "1", "use": "sig", **members}


def text(key: Any, **members: Any) -> str:
    return json.dumps(jwk(key, **members))


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_token_for_this_word_says_who_it_is(algorithm: str) -> None:
    who = oidc.verify(token(algorithm), text(KEYS[algorithm]), ISSUER, NONCE, NOW)

    assert who == "248289761001"


def test_an_audience_may_stand_in_a_list_of_its_own() -> None:
    assert oidc.verify(token(aud=["firedoor"]), text(EC), ISSUER, NONCE, NOW) == "248289761001"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "https://evil.example.com"}, "another issuer"),
        ({"iss": "https://id.example.com/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "not for firedoor alone"),
        ({"aud": ["firedoor", "other"]}, "not for firedoor alone"),
        ({"aud": None}, "not for firedoor alone"),
        ({"nonce": "b" * 64}, "another word"),
        ({"nonce": None}, "another word"),
        ({"exp": NOW.timestamp() - 60}, "has expired"),
        ({"exp": None}, "exp is missing"),
        ({"exp": "never"}, "exp is missing or no time"),
        ({"exp": float("nan")}, "exp is missing or no time"),
        ({"exp": True}, "exp is missing or no time"),
        ({"iat": NOW.timestamp() + 61}, "in the future"),
        ({"iat": None}, "iat is missing"),
        ({"nbf": NOW.timestamp() + 61}, "not valid yet"),
        ({"sub": None}, "names nobody"),
        ({"sub": ""}, "names nobody"),
        ({"sub": "x" * 256}, "names nobody"),
    ],
)
def test_a_token_whose_claims_are_not_right_is_refused(
    changed: dict[str, Any], reason: str
) -> None:
    payload = json.dumps(claims(**changed)).encode()
    bad = jwt.PyJWS().encode(payload, EC, "ES256", {"kid": "1"})

    with pytest.raises(ValueError, match=reason):
        oidc.verify(bad, text(EC), ISSUER, NONCE, NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": NOW.timestamp() - 59},
        {"iat": NOW.timestamp() + 60},
        {"nbf": NOW.timestamp() + 60},
    ],
)
def test_clocks_may_differ_by_a_minute(changed: dict[str, Any]) -> None:
    assert oidc.verify(token(**changed), text(EC), ISSUER, NONCE, NOW)


def test_the_time_that_counts_is_the_one_passed_in() -> None:
    years_later = NOW + timedelta(days=3650)
    good = token(iat=years_later.timestamp(), exp=years_later.timestamp() + 60)

    assert oidc.verify(good, text(EC), ISSUER, NONCE, years_later)
    with pytest.raises(ValueError, match="future"):
        oidc.verify(good, text(EC), ISSUER, NONCE, NOW)


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(ValueError, match="not signed with the issuer's key"):
        oidc.verify(token("RS256", OTHER_RSA), text(RSA), ISSUER, NONCE, NOW)


def test_an_altered_token_is_refused() -> None:
    header, _, signature = token().split(".")
    forged = base64.urlsafe_b64encode(json.dumps(claims(sub="root")).encode()).decode().rstrip("=")

    with pytest.raises(ValueError, match="not signed with the issuer's key"):
        oidc.verify(f"{header}.{forged}.{signature}", text(EC), ISSUER, NONCE, NOW)


def test_a_token_without_signature_is_refused() -> None:
    unsigned = jwt.encode(claims(), None, "none")

    with pytest.raises(ValueError, match="algorithm is not one of"):
        oidc.verify(unsigned, text(EC), ISSUER, NONCE, NOW)


def test_a_token_that_a_shared_secret_signed_is_refused() -> None:
    # The classic: the public key, which everybody has, taken as the secret.
    known = text(RSA).encode()
    secret = base64.urlsafe_b64encode(known).decode()
    signed = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "typ": "JWT"}, claims())
    )
    mac = base64.urlsafe_b64encode(hmac.digest(known, signed.encode(), "sha256")).decode()
    confused = f"{signed}.{mac.rstrip('=')}"

    with pytest.raises(ValueError, match="algorithm is not one of"):
        oidc.verify(confused, text(RSA), ISSUER, NONCE, NOW)
    with pytest.raises(ValueError, match="algorithm is not one of"):
        oidc.verify(confused, json.dumps({"kty": "oct", "k": secret}), ISSUER, NONCE, NOW)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (text(RSA), "not for ES256"),
        (text(EC, use="enc"), "not for ES256"),
        (text(EC, alg="ES384"), "not for ES256"),
        (text(EC, crv="P-384"), "not for ES256"),
        (text(EC, d="AAAA"), "not for ES256"),
        (text(EC, x="AAAA"), "cannot be read"),
        (text(EC, x=5), "cannot be read"),
        ("[]", "not for ES256"),
        ("{", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(key: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        oidc.verify(token(), key, ISSUER, NONCE, NOW)


def test_a_short_key_is_refused() -> None:
    short = rsa.generate_private_key(65537, 1024)
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        weak = token("RS256", short)

    with pytest.raises(ValueError, match="fewer than 2048 bits"):
        oidc.verify(weak, text(short), ISSUER, NONCE, NOW)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"crit": ["exp"], "exp": 1}, "no signed JSON web token"),
        ({"typ": "at+jwt"}, "no ID token"),
    ],
)
def test_a_token_of_another_sort_is_refused(header: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        oidc.verify(
            jwt.PyJWS().encode(json.dumps(claims()).encode(), EC, "ES256", header),
            text(EC),
            ISSUER,
            NONCE,
            NOW,
        )


@pytest.mark.parametrize("bad", ["", "no token", "a.b.c", "é.é.é", "x" * 20_000, "[" * 5000])
def test_what_is_no_token_is_refused_with_a_reason(bad: str) -> None:
    with pytest.raises(ValueError, match=r"no signed JSON web token|too long"):
        oidc.verify(bad, text(EC), ISSUER, NONCE, NOW)


def test_an_issuer_is_known_by_its_address_and_audience() -> None:
    others = [Issuer(issuer=ISSUER.issuer, audience="other"), Issuer(issuer="x", audience="y")]

    assert oidc.issuer_of(token(), [*others, ISSUER]) == ISSUER
    with pytest.raises(ValueError, match="policy has not"):
        oidc.issuer_of(token(), others)


# The provider


@dataclass
class Provider:
    """An identity provider on loopback, which can be told to misbehave."""

    issuer: Issuer = ISSUER
    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk(EC), jwk(RSA, kid="2")])
    said: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    location: str = ""
    asked: list[str] = field(default_factory=list)

    async def discovery(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        home = self.issuer.issuer
        return web.json_response({"issuer": home, "jwks_uri": f"{home}/keys?p=1", **self.said})

    async def published(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        headers = {"Location": self.location} if self.location else {}
        return web.json_response({"keys": self.keys}, status=self.status, headers=headers)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    app = web.Application()
    app.router.add_get("/tenant/.well-known/openid-configuration", made.discovery)
    app.router.add_get("/tenant/keys", made.published)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    made.issuer = Issuer(issuer=f"http://127.0.0.1:{port}/tenant", audience="firedoor")
    yield made
    await runner.cleanup()


async def test_the_key_that_an_issuer_publishes_checks_its_token(provider: Provider) -> None:
    issued = token(iss=provider.issuer.issuer)
    key = await identity_provider.fetch_key(issued, provider.issuer)

    assert oidc.verify(issued, key, provider.issuer, NONCE, NOW) == "248289761001"


async def test_only_what_is_public_of_a_key_is_kept(provider: Provider) -> None:
    provider.keys = [jwk(EC, x5c=["MII"], note="x")]

    kept = json.loads(await identity_provider.fetch_key(token(), provider.issuer))

    assert set(kept) == {"kty", "crv", "x", "y", "kid", "use"}


async def test_without_a_kid_the_one_key_that_fits_is_meant(provider: Provider) -> None:
    payload = json.dumps(claims()).encode()
    unnamed = jwt.PyJWS().encode(payload, EC, "ES256")

    assert json.loads(await identity_provider.fetch_key(unnamed, provider.issuer))["kid"] == "1"
    provider.keys.append(jwk(EC, kid="3"))
    with pytest.raises(ValueError, match="2 keys"):
        await identity_provider.fetch_key(unnamed, provider.issuer)


@pytest.mark.parametrize(
    "keys",
    [[], [jwk(EC, kid="other")], [jwk(RSA)], [{"kty": "oct", "k": "AAAA", "kid": "1"}], ["x"], {}],
)
async def test_a_key_that_an_issuer_does_not_have_is_refused(provider: Provider, keys: Any) -> None:
    provider.keys = keys

    with pytest.raises(ValueError, match="has no key"):
        await identity_provider.fetch_key(token(), provider.issuer)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"issuer": "https://id.example.com"}, "speaks for another issuer"),
        ({"jwks_uri": None}, "names no jwks_uri"),
        ({"jwks_uri": "http://198.51.100.7/keys"}, "not https"),
        ({"jwks_uri": "file:///etc/passwd"}, "not https"),
        ({"jwks_uri": "https://user:secret@id.example.com/keys"}, "with a login"),
        ({"jwks_uri": "https://["}, "cannot be read"),
    ],
)
async def test_an_issuer_that_leads_elsewhere_is_not_followed(
    provider: Provider, said: dict[str, Any], reason: str
) -> None:
    provider.said = said

    with pytest.raises(ValueError, match=reason):
        await identity_provider.fetch_key(token(), provider.issuer)
    assert len(provider.asked) == 1


async def test_a_public_issuer_is_asked_over_https_only() -> None:
    with pytest.raises(ValueError, match="not https"):
        await identity_provider.fetch_key(
            token(), Issuer(issuer="http://id.example.com", audience="firedoor")
        )


async def test_a_redirect_is_not_followed(provider: Provider) -> None:
    provider.status, provider.location = 302, f"{provider.issuer.issuer}/keys"

    with pytest.raises(ValueError, match="HTTP 302"):
        await identity_provider.fetch_key(token(), provider.issuer)
    assert provider.asked.count("/tenant/keys") == 1


async def test_a_document_that_is_too_large_is_refused(provider: Provider) -> None:
    provider.keys = [jwk(EC, note="x" * (1 << 18))]

    with pytest.raises(ValueError, match="no JSON object of at most"):
        await identity_provider.fetch_key(token(), provider.issuer)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_issuer_that_cannot_answer_now_is_unreachable(
    provider: Provider, status: int
) -> None:
    provider.status = status

    with pytest.raises(Unreachable, match=f"HTTP {status}"):
        await identity_provider.fetch_key(token(), provider.issuer)


async def test_an_issuer_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        await identity_provider.fetch_key(
            token(), Issuer(issuer="http://127.0.0.1:1", audience="firedoor")
        )


async def test_a_provider_is_asked_by_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().strip())
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    with pytest.raises(Unreachable):
        await identity_provider.fetch_key(token(), ISSUER)
    server.close()
    assert asked == ["CONNECT id.example.com:443 HTTP/1.1"]


# The command


def command(tmp_path: Path, body: str) -> str:
    script = tmp_path / "get token.py"
    script.write_text(body)
    return f"{sys.executable} '{script}'"


def test_a_command_gets_the_nonce_and_prints_the_token(tmp_path: Path) -> None:
    known = token()
    body = f"import os; assert os.environ['FIREDOOR_NONCE'] == '{NONCE}'; print('{known}')"

    assert identity_provider.obtain(command(tmp_path, body), NONCE) == known


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise SystemExit(3)", "it failed with status 3"),
        ("print('please log in')", "expected it to print an ID token, but it is no signed"),
        ("", "expected it to print an ID token"),
    ],
)
def test_a_command_that_gets_no_token_is_named(tmp_path: Path, body: str, reason: str) -> None:
    with pytest.raises(BadInput, match=f"FIREDOOR_OIDC_COMMAND: .*get token.py.*: {reason}"):
        identity_provider.obtain(command(tmp_path, body), NONCE)


@pytest.mark.parametrize("wrong", ["/no/such/command", "an 'open quote"])
def test_a_command_that_cannot_be_run_is_named(wrong: str) -> None:
    with pytest.raises(BadInput, match=f"FIREDOOR_OIDC_COMMAND: {wrong}: it cannot be run"):
        identity_provider.obtain(wrong, NONCE)


def test_without_a_command_the_setting_is_named() -> None:
    with pytest.raises(BadInput, match="settings: FIREDOOR_OIDC_COMMAND"):
        identity_provider.obtain(None, NONCE)
