"""Whose word is it? A worker asks those who know, and says what they answered."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.attest import attest
from firedoor.approvals import oidc, sts
from firedoor.lab.identity_provider import IdentityProvider
from firedoor.lab.server import EmulatedAws
from firedoor.model.responder import Issuer
from firedoor.model.word import (
    Attestation,
    Question,
    SshSignature,
    StsRequest,
    Voucher,
)
from firedoor.settings import settings

DIGEST = "a" * 64


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider() as running:
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers keep what they were answered."""
    monkeypatch.setenv("FIREDOOR_HOME", str(tmp_path))
    settings.cache_clear()


def asked(attestation: Attestation, *issuers: Issuer, digest: str = DIGEST) -> Any:
    question = Question(attestation=attestation, digest=digest, issuers=issuers)
    return ActivityEnvironment().run(attest, question)


async def test_an_issuer_vouches_with_the_key_to_check_again(
    provider: IdentityProvider,
) -> None:
    proof, issuer = provider.token(DIGEST), provider.issuer

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
    provider: IdentityProvider, changed: dict[str, Any], problem: str
) -> None:
    voucher = await asked(provider.token(**{"nonce": DIGEST, **changed}), provider.issuer)

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


async def test_who_does_not_answer_is_asked_again(provider: IdentityProvider) -> None:
    nobody = Issuer(issuer="http://127.0.0.1:1", audience="firedoor")

    with pytest.raises(ApplicationError) as failed:
        await asked(provider.token(DIGEST, iss=nobody.issuer), nobody)
    assert (failed.value.type, failed.value.non_retryable) == ("Unreachable", False)


async def test_a_worker_that_cannot_ask_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "https://gateway.example.com/sts")

    with pytest.raises(ApplicationError, match=r"without a path") as failed:
        await asked(StsRequest(url="", headers={}))
    assert (failed.value.type, failed.value.non_retryable) == ("BadInput", True)
