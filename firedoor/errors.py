"""The errors of Firedoor, from general to exact.

FiredoorError
├── BadInput                 a file, message or argument is not what it should be
│   ├── NotAFinding
│   ├── BadRunbook
│   ├── BadQuery             a question that cannot be asked, or not everywhere
│   └── Unreadable           a log, or the rest of it
├── Unreachable              a server that we need does not answer
├── Refused                  a guard rail or the cloud itself forbids it: do something else
├── PlanStale                the target is no longer as the plan saw it: plan again
├── UnplannedCall            a changing call that no plan holds: a bug, stopped before it was sent
└── CloudError               a cloud said no
    ├── AccessDenied
    ├── NotFound
    ├── QuotaExceeded
    ├── Throttled            later
    └── Unavailable          later; whether a change took effect is unknown
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firedoor.model.plan import CallRecord


class FiredoorError(Exception):
    """Anything that Firedoor itself raises.

    `retryable` says whether trying again can help, `made` which changing calls came before it, and
    `exit_status` how a program ends that it ends. Further problems of the same kind are its notes.
    """

    retryable = False
    exit_status = 1
    made: "tuple[CallRecord, ...]" = ()


class BadInput(FiredoorError):
    """Say which thing, which place in it, and what was expected there."""

    exit_status = 2

    def __init__(self, what: str, where: str, expected: str) -> None:
        super().__init__(f"{what}: {where}: {expected}" if where else f"{what}: {expected}")
        self.what, self.where, self.expected = what, where, expected


class NotAFinding(BadInput):
    """A document is not a finding of any source that we know."""


class BadRunbook(BadInput):
    """A runbook cannot be used."""


class BadQuery(BadInput):
    """A query is wrong, or asks in a way that not every engine understands."""


class Unreadable(BadInput):
    """An object of a log cannot be read, or not to its end."""


class Unreachable(FiredoorError):
    """A server that is needed does not answer."""

    retryable = True
    exit_status = 3


class Refused(FiredoorError):
    """It must not or cannot be done; the message says what to do instead."""


class PlanStale(FiredoorError):
    """The target's state differs from what the plan saw."""


class UnplannedCall(FiredoorError):
    """A changing call that the plan in force does not hold."""


class CloudError(FiredoorError):
    """A cloud refused or failed a call."""

    def __init__(self, code: str, message: str, operation: str, request_id: str = "") -> None:
        super().__init__(
            f"{operation}: {code}: {message}" + (f" (request {request_id})" if request_id else "")
        )
        self.code, self.operation, self.request_id = code, operation, request_id


class AccessDenied(CloudError):
    """We lack a permission."""


class NotFound(CloudError):
    """What is named does not exist."""


class QuotaExceeded(CloudError):
    """A limit of the account is reached."""


class Throttled(CloudError):
    """Too many calls; later ones will be accepted."""

    retryable = True


class Unavailable(CloudError):
    """No answer, or a server error: what was asked for may have happened all the same."""

    retryable = True
    exit_status = 3
