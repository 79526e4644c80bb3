"""Whose word is it? A worker asks those who know, and says what they answered."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.attest import attest
from firedoor.approvals import identity_provider, oidc, sts
from firedoor.lab.server import EmulatedAws
from firedoor.model.responder import Issuer
from firedoor.model.word import (
    Attestation,
    OidcToken,
    Question,
    SshSignature,
    StsRequest,
    Voucher,
)
from firedoor.settings import settings

DIGEST = "a" * 64
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """An identity provider on loopback."""
    home = ""
    public = {**json.loads(ECAlgorithm.to_jwk(KEY.public_key())), "kid": "1"}

    async def discovery(request: web.Request) -> web.Response:
        return web.json_response({"issuer": home, "jwks_uri": f"{home}/keys"})

    async def keys(request: web.Request) -> web.Response:
        return web.json_response({"keys": [public]})

    app = web.Application()
    app.router.add_get(identity_provider.DISCOVERY, discovery)
    app.router.add_get("/keys", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    home = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield Issuer(issuer=home, audience="firedoor")
    await runner.cleanup()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers keep what they were answered."""
    monkeypatch.setenv("FIREDOOR_HOME", str(tmp_path))
    settings.cache_clear()


def token(issuer: Issuer, **changed: Any) -> OidcToken:
    now = datetime.now(UTC).timestamp()
    claims = {
        "iss": issuer.issuer,
        "aud": issuer.audience,
        "sub": "alice",
        "nonce": DIGEST,
        "iat": now,
        "exp": now + 60,
        **changed,
    }
    return OidcToken(token=jwt.encode(claims, KEY, "ES256", {"kid": "1"}))


def asked(attestation: Attestation, *issuers: Issuer, digest: str = DIGEST) -> Any:
    question = Question(attestation=attestation, digest=digest, issuers=issuers)
    return ActivityEnvironment().run(attest, question)


async def test_an_issuer_vouches_with_the_key_to_check_again(issuer: Issuer) -> None:
    proof = token(issuer)

    voucher = await asked(proof, issuer)

    assert (voucher.identity, voucher.problem) == ("alice", "")
    again = oidc.verify(proof.token, voucher.key, issuer, DIGEST, datetime.now(UTC))
    assert again == "alice"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"nonce": "b" * 64}, "the token was issued for another word"),
        ({"exp": 1}, "the token has expired"),
        ({"iss": "https://id.example.com"}, "the token is from an issuer, or for an audience"),
    ],
)
async def test_a_token_that_is_not_good_is_an_answer_too(
    issuer: Issuer, changed: dict[str, Any], problem: str
) -> None:
    voucher = await asked(token(issuer, **changed), issuer)

    assert voucher.problem.startswith(problem)
    assert voucher == Voucher(problem=voucher.problem)


async def test_aws_vouches_for_whoever_signed(lab: EmulatedAws) -> None:
    voucher = await asked(sts.make(boto3.Session(), "us-east-1", DIGEST))

    assert voucher == Voucher(identity=boto3.client("sts").get_caller_identity()["Arn"])


async def test_a_request_that_is_no_proof_is_an_answer_too(lab: EmulatedAws) -> None:
    request = sts.make(boto3.Session(), "us-east-1", DIGEST)

    voucher = await asked(request, digest="b" * 64)
    elsewhere = await asked(StsRequest(url="http://169.254.169.254/", headers=request.headers))

    assert voucher.problem.startswith("the request was signed for another word")
    assert elsewhere.problem.startswith("the request is not for an endpoint")


async def test_a_signature_needs_nobody_to_be_asked() -> None:
    voucher = await asked(SshSignature(signature=""))

    assert voucher.problem == "nobody has to be asked about a proof by ssh"


async def test_who_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Issuer(issuer="http://127.0.0.1:1", audience="firedoor")

    with pytest.raises(ApplicationError) as failed:
        await asked(token(nobody), nobody)
    assert (failed.value.type, failed.value.non_retryable) == ("Unreachable", False)


async def test_a_worker_that_cannot_ask_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "https://gateway.example.com/sts")

    with pytest.raises(ApplicationError, match=r"without a path") as failed:
        await asked(StsRequest(url="", headers={}))
    assert (failed.value.type, failed.value.non_retryable) == ("BadInput", True)
