"""What a warrant may rest on: policies, runbooks and answers that this installation has, or had."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

from firedoor import evidence
from firedoor.approvals.warrants import Archive
from firedoor.evidence import Pin
from firedoor.model.base import digest
from firedoor.model.policy import Policy
from firedoor.model.runbook import Runbook
from firedoor.model.warrant import Vouched
from worker.catalogue import catalogue, policy


def keep() -> None:
    """Keep the policy and the runbooks of this worker beside the evidence.

    Who can write to Temporal cannot write there, so an incident under a policy of their own making
    finds no worker that acts for it.
    """
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda one: evidence.pin(*one), _present()))


@cache
def find_policy(digest: str) -> Policy | None:
    """Return a policy that this installation has or had."""
    if digest == policy().digest:
        return policy()
    kept = evidence.pinned(Pin.POLICY, digest)
    return Policy.model_validate_json(kept) if kept else None


@cache
def find_runbook(digest: str) -> Runbook | None:
    """Return a runbook that this installation has or had."""
    for runbook in catalogue().values():
        if runbook.digest == digest:
            return runbook
    kept = evidence.pinned(Pin.RUNBOOK, digest)
    return Runbook.model_validate_json(kept) if kept else None


def is_vouched(vouched: Vouched) -> bool:
    """Tell whether a worker of this installation has asked whose word it is, and heard this."""
    return evidence.pinned(Pin.VOUCHER, digest(vouched)) is not None


ARCHIVE = Archive(policy=find_policy, runbook=find_runbook, vouched=is_vouched)


def _present() -> list[tuple[Pin, Policy | Runbook]]:
    return [(Pin.POLICY, policy()), *((Pin.RUNBOOK, runbook) for runbook in catalogue().values())]
