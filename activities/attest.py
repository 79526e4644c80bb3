"""Asking those who alone can tell whose word it is: an identity provider, or AWS."""

import asyncio
from datetime import UTC, datetime

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.heartbeat import beating
from firedoor import evidence
from firedoor.approvals import identity_provider, oidc, sts
from firedoor.errors import FiredoorError
from firedoor.evidence import Pin
from firedoor.model.base import digest
from firedoor.model.plan import Failure
from firedoor.model.warrant import Vouched
from firedoor.model.word import OidcToken, Question, StsRequest, Voucher


@activity.defn(name="approvals.attest")
async def attest(question: Question) -> Voucher:
    """Ask whose word it is, and return what was answered, or why nobody vouches for it.

    That somebody does not answer is an error, `Unreachable`, for it may change; so is it if this
    worker cannot ask at all, but that will not change. To ask twice does no harm.
    """
    try:
        voucher = await beating(_ask(question))
        # Workers believe no workflow that says so, only what they find there.
        vouched = Vouched(question=digest(question), voucher=voucher)
        await asyncio.to_thread(evidence.pin, Pin.VOUCHER, vouched)
    except ValueError as error:
        return Voucher(problem=str(error))
    except FiredoorError as error:
        raise ApplicationError(
            str(error),
            Failure(attempt=activity.info().attempt),
            type=type(error).__name__,
            non_retryable=not error.retryable,
        ) from error
    return voucher


async def _ask(question: Question) -> Voucher:
    match question.attestation:
        case OidcToken(token=token):
            issuer = oidc.issuer_of(token, question.issuers)
            key = await identity_provider.fetch_key(token, issuer)
            return Voucher(
                identity=oidc.verify(token, key, issuer, question.digest, datetime.now(UTC)),
                key=key,
            )
        case StsRequest() as request:
            hosts = await asyncio.to_thread(sts.hosts)
            return Voucher(identity=await sts.ask(request, question.digest, hosts))
        case other:
            raise ValueError(f"nobody has to be asked about a proof by {other.means}")
