"""AWS: clients for one account and region, which read freely and change only what a plan holds."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property, lru_cache, partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeVar

import boto3
import botocore.loaders
import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from firedoor import errors
from firedoor.cloud.roles import (
    Role,
    Roles,
    by_settings,
    credentials,
    session_name,
    source_identity,
)
from firedoor.model.finding import GLOBAL
from firedoor.model.plan import LATER, Call, CallRecord, Check, Outcome

T = TypeVar("T")

Network = IPv4Network | IPv6Network

# Operations with these beginnings only read, in the services that actions look at. Elsewhere some
# of them hand out credentials or even create users.
READ_FROM = frozenset(
    {
        "autoscaling", "cloudfront", "cloudtrail", "cloudwatch", "ebs", "ec2", "ecs", "eks", "elb",
        "elbv2", "guardduty", "iam", "identitystore", "kms", "lambda", "logs", "network-firewall",
        "organizations", "rds", "resourcegroupstaggingapi", "route53", "route53resolver", "s3",
        "s3control", "security-ir", "service-quotas", "shield", "ssm", "sso-admin", "support",
        "wafv2",
    }
)  # fmt: skip
READS = ("BatchGet", "Describe", "Filter", "Get", "Head", "List", "Lookup", "Search", "Simulate")
# Services whose other reads hand out what only its owner should see.
READS_OF = {
    "dynamodb": ("Describe", "List"),
    "ecr": ("Describe", "List"),
    "secretsmanager": ("Describe", "List"),
    "securityhub": ("DescribeHub", "GetEnabledStandards"),
    "sts": ("GetCallerIdentity",),
}
DRY_RUNS = frozenset({"ec2", "network-firewall"})

# Reads at once: services throttle an account as a whole.
SIDE_BY_SIDE = 16

# What is asked first about an instance; a service takes up to a quarter of a second to be read.
USUAL = ("ec2", "iam", "sts", "autoscaling", "elbv2", "cloudtrail", "kms", "ssm")

# Sessions in other accounts that are kept: one for each incident there, and each who decided in it.
# What falls out is made anew, which costs a call to STS and some time for each client.
SESSIONS = 64

# One attempt: Temporal retries whole activities, which look before they act. A retry inside the SDK
# would repeat a call whose answer was lost, and the two kinds of retry would multiply.
CONFIG = Config(
    retries={"total_max_attempts": 1},
    connect_timeout=3,
    read_timeout=15,
    max_pool_connections=50,
    user_agent_extra="firedoor",
)

# For what is our own: no activity tries it again, and a repeat does no harm.
PATIENT = CONFIG.merge(Config(retries={"total_max_attempts": 5, "mode": "standard"}))

_DENIED = {
    "AccessDenied", "AccessDeniedException", "AuthFailure", "ExpiredToken", "InvalidClientTokenId",
    "UnauthorizedOperation",
}  # fmt: skip
_FULL = ("LimitExceeded", "LimitsExceeded", "QuotaExceeded")
# Too many calls, or too many at once on one thing: the same call is accepted later.
_THROTTLED = {
    "ConcurrentModification", "ConcurrentModificationException", "ConflictException",
    "DependencyThrottle", "EntityTemporarilyUnmodifiable", "InvalidDBClusterStateFault",
    "InvalidDBInstanceState", "OperationAborted", "OptimisticLockException",
    "PolicyChangesInProgressException", "RequestLimitExceeded", "RequestThrottled",
    "RequestThrottledException", "ResourceConflictException", "ResourceInUseException", "SlowDown",
    "SnapshotCreationPerVolumeRateExceeded", "ThrottledException", "Throttling",
    "ThrottlingException", "TooManyRequestsException",
}  # fmt: skip


@dataclass
class Permit:
    """The changing calls that are allowed now, and those that were made."""

    home: "Aws"
    planned: Sequence[Call]
    made: list[CallRecord] = field(default_factory=list)

    def __deepcopy__(self, _: dict[int, Any]) -> "Permit":
        """Return itself: to sign the URL of CopySnapshot, botocore copies all that a call has."""
        return self


_permit: ContextVar[Permit | None] = ContextVar("permit", default=None)


class Aws:
    """Clients for one account and region; threads may share it.

    A client's errors are `firedoor.errors.CloudError`. A changing call that no plan in force holds
    raises `UnplannedCall` before it is sent. `incident` and `by`, who decided in it, are what
    CloudTrail shows of us in other accounts than our own, and `roles` says how we get there.
    """

    incident = ""
    by = ""
    roles: Roles = staticmethod(by_settings)
    applied: datetime | None = None  # when the plan that is verified was applied, if that is known
    protected: tuple[Network, ...] = ()  # what no plan may block, as the policy has it

    def __init__(self, account: str, region: str, session: boto3.Session) -> None:
        self.account = account
        self.region = region
        self._clients = _Clients(account, region, session)

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service."""
        return self._clients.of(service)

    def elsewhere(self, *, account: str = "", region: str = "") -> "Aws":
        """Return the clients for another account or region; what is not said stays the same."""
        if (account or self.account, region or self.region) == (self.account, self.region):
            return self
        return connect(
            account or self.account,
            region or self.region,
            incident=self.incident,
            by=self.by,
            roles=self.roles,
        )

    def on_behalf_of(self, incident: str, by: str, roles: Roles) -> "Aws":
        """Return the same clients, for what they do elsewhere on behalf of an incident."""
        same = copy(self)
        same.incident, same.by, same.roles = incident, by, roles
        return same

    def after(self, applied: datetime | None) -> "Aws":
        """Return the same clients, to verify what was applied at an instant."""
        same = copy(self)
        same.applied = applied
        return same

    def sparing(self, protected: tuple[Network, ...]) -> "Aws":
        """Return the same clients, to plan what leaves alone what is protected."""
        same = copy(self)
        same.protected = protected
        return same

    def call(self, call: Call) -> dict[str, Any]:
        """Make a planned call, and return the answer."""
        client = self.elsewhere(account=call.account, region=call.region).client(call.service)
        return getattr(client, xform_name(call.operation))(**call.parameters)  # type: ignore[no-any-return]

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> list[Any]:
        """Read all pages of a listing, and return the items under `key` of the answer."""
        client = self.client(service)
        if not client.can_paginate(xform_name(operation)):
            return list(getattr(client, xform_name(operation))(**parameters)[key])
        pages = client.get_paginator(xform_name(operation)).paginate(**parameters)
        return [item for page in pages for item in page.get(key, [])]

    @contextmanager
    def only(self, calls: Sequence[Call]) -> Iterator[Permit]:
        """Allow these changing calls and no other, and record each that is made.

        An error that ends the block carries what was made until then.
        """
        permit = Permit(self, calls)
        token = _permit.set(permit)
        try:
            yield permit
        except errors.FiredoorError as error:
            error.made = tuple(permit.made)
            raise
        finally:
            _permit.reset(token)

    def together(self, *reads: Callable[[], T]) -> list[T]:
        """Run any number of reads, some side by side, and return their results in order."""
        if not reads:
            return []
        with ThreadPoolExecutor(min(len(reads), SIDE_BY_SIDE)) as pool:
            return [f.result() for f in [pool.submit(copy_context().run, read) for read in reads]]

    def allowed(self, call: Call) -> Check:
        """Ask EC2 whether we may make a call, without making it.

        It proves the permission, not that the parameters are valid or that quota is left.
        """
        dry = call.model_copy(update={"parameters": {**call.parameters, "DryRun": True}})
        try:
            self.call(dry)
        except errors.CloudError as error:
            if error.code != "DryRunOperation":
                return Check(name=f"may {call.operation}", ok=False, detail=str(error))
        return Check(name=f"may {call.operation}", ok=True)

    @property
    def identity(self) -> str:
        """The ARN that we act as."""
        return self._clients.identity

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn`, `aws-us-gov` …, for ARNs."""
        return self._clients.partition


class _Clients:
    """The clients of one session in one region, each made when it is first asked for."""

    def __init__(self, account: str, region: str, session: boto3.Session) -> None:
        self.account = account
        self.region = region
        self._session = session
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()

    def of(self, service: str) -> Any:
        with self._lock:  # boto3 sessions are not safe for threads; their clients are
            if service not in self._made:
                client = self._session.client(service, region_name=self.region, config=CONFIG)
                client.meta.events.register(
                    "provide-client-params", partial(_permit_or_raise, self)
                )
                self._made[service] = _mapped(client)
            return self._made[service]

    @cached_property
    def identity(self) -> str:
        return str(self.of("sts").get_caller_identity()["Arn"])

    @cached_property
    def partition(self) -> str:
        return self._session.get_partition_for_region(self.region)


def connect(
    account: str,
    region: str,
    *,
    incident: str = "",
    by: str = "",
    roles: Roles = by_settings,
) -> Aws:
    """Return the clients for an account and region.

    In another account than our own a role is assumed, that of the settings if `roles` does not say
    otherwise: CloudTrail there shows the incident as the name of the session, and who decided in it
    as its source identity. In our own account all incidents share the same clients. What has no
    region is asked in the SDK's own, or in us-east-1. Raises `Refused` if there is no such role.
    """
    region = region if region != GLOBAL else _usual_region()
    if account == (own := _own_account(region)):
        return _home(account, region).on_behalf_of(incident, by, roles)
    role = roles(account, region)
    if role is None:
        # Our own credentials would find what has the same name in our own account.
        raise errors.Refused(
            f"account {account} is not our own, {own}: FIREDOOR_AWS_ROLE or the policy must name"
            " the role to assume there"
        )
    who = session_name(incident), source_identity(by)
    return _entered(account, region, role, *who).on_behalf_of(incident, by, roles)


@cache
def own(service: str, region: str = "") -> Any:
    """Return a client for what is our own, as our logs are: no plan has to hold its calls.

    It acts with the credentials that we run with, tries again by itself, and its errors are
    `firedoor.errors.CloudError`. What has no region is asked in the SDK's own, or in us-east-1.
    """
    region = region or _usual_region()
    return _mapped(_session().client(service, region_name=region, config=PATIENT))


def forget() -> None:
    """Drop all clients and sessions; those that somebody still has go on working."""
    for remembered in (_home, _entered, _own_account, _sts, _usual_region, own):
        remembered.cache_clear()


def warm_up() -> None:
    """Read from disk what the clients of most responses need, before a finding waits for it.

    Nothing is asked of AWS, and what is wrong with our set-up is left for the first call to say.
    """
    with suppress(BotoCoreError):
        session = _session()
        for service in USUAL:
            session.client(service, region_name="us-east-1", config=CONFIG)


@cache
def _home(account: str, region: str) -> Aws:
    return Aws(account, region, _session())


@lru_cache(SESSIONS)
def _entered(account: str, region: str, role: Role, session: str, source: str) -> Aws:
    sts = _sts(region)
    inner = botocore.session.Session()
    inner._credentials = credentials(  # type: ignore[attr-defined]
        sts.assume_role, role.arn(sts.meta.partition, account), role, session, source
    )
    return Aws(account, region, _session(inner, region_name=region))


@cache
def _own_account(region: str) -> str:
    return str(_sts(region).get_caller_identity()["Account"])


@cache
def _sts(region: str) -> Any:
    """Return the client by which we go into other accounts, at the endpoint of the region.

    The credentials that the global endpoint hands out are not taken everywhere.
    """
    session = _session()
    session._session.set_config_variable("sts_regional_endpoints", "regional")
    return _mapped(session.client("sts", region_name=region, config=CONFIG))


@cache
def _usual_region() -> str:
    return _session().region_name or "us-east-1"


def _session(inner: botocore.session.Session | None = None, **options: Any) -> boto3.Session:
    """Return a session; what one of them read of a service from disk, all have."""
    inner = inner or botocore.session.Session()
    inner.register_component("data_loader", _loader(inner.get_config_variable("data_path")))
    return boto3.Session(botocore_session=inner, **options)


@cache
def _loader(path: str | None) -> botocore.loaders.Loader:
    return botocore.loaders.create_loader(path)


def _mapped(client: Any) -> Any:
    """Let a client raise our errors, and record the changing calls of a plan."""
    client.meta.events.register("after-call", _record)
    client.meta.events.register("after-call-error", _record_lost)
    return client


def _permit_or_raise(
    clients: _Clients, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any
) -> None:
    service = model.service_model.service_name
    if _only_reads(service, model.name, params):
        return
    call = Call(
        service=service,
        operation=model.name,
        parameters=json.loads(json.dumps(params, default=str)),
        account=clients.account,
        region=clients.region,
    )
    permit = _permit.get()
    if permit is None or not any(_is(call, planned, permit.home) for planned in permit.planned):
        raise errors.UnplannedCall(f"{call.service}:{call.operation} {call.parameters}")
    context["firedoor"] = (permit, call, datetime.now(UTC))


def _only_reads(service: str, operation: str, params: dict[str, Any]) -> bool:
    if service in DRY_RUNS and params.get("DryRun") is True:
        return True
    reads = READS_OF.get(service, READS if service in READ_FROM else ())
    return operation.startswith(reads)


def _is(call: Call, planned: Call, home: Aws) -> bool:
    where = (planned.account or home.account, planned.region or home.region)
    return (call.service, call.operation, call.account, call.region) == (
        planned.service,
        planned.operation,
        *where,
    ) and _same(call.parameters, planned.parameters)


def _same(made: Any, planned: Any) -> bool:
    if planned == LATER:
        return True
    if isinstance(made, dict) and isinstance(planned, dict):
        return made.keys() == planned.keys() and all(_same(made[k], planned[k]) for k in made)
    if isinstance(made, list) and isinstance(planned, list):
        return len(made) == len(planned) and all(map(_same, made, planned))
    return bool(made == planned)


def _record(
    http_response: Any, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any
) -> None:
    request_id = parsed.get("ResponseMetadata", {}).get("RequestId", "")
    status = http_response.status_code
    if status < 300:
        _note(context, request_id, Outcome.OK)
        return
    error = _error(parsed["Error"], status, model.name, request_id)
    # A server that failed may have done it first; one that wants fewer calls (503 too) has not.
    failed = status >= 500 and not isinstance(error, errors.Throttled)
    _note(context, request_id, Outcome.UNKNOWN if failed else Outcome.ERROR, str(error))
    raise error


def _record_lost(exception: Exception, context: dict[str, Any], **_: Any) -> None:
    if isinstance(exception, errors.FiredoorError):
        return  # there were no credentials to send it with
    # Sent, perhaps, and not answered: whether it took effect is unknown until somebody reads back.
    _note(context, "", Outcome.UNKNOWN, str(exception))
    raise errors.Unavailable(type(exception).__name__, str(exception), "AWS") from exception


def _note(context: dict[str, Any], request_id: str, outcome: Outcome, detail: str = "") -> None:
    if "firedoor" not in context:
        return
    permit, call, at = context["firedoor"]
    permit.made.append(
        CallRecord(
            **call.model_dump(), at=at, request_id=request_id, outcome=outcome, detail=detail
        )
    )


def _error(
    error: dict[str, str], status: int, operation: str, request_id: str
) -> errors.CloudError:
    code = error.get("Code", str(status))
    return _kind(code, status)(code, error.get("Message", ""), operation, request_id)


def _kind(code: str, status: int) -> type[errors.CloudError]:
    if code in _DENIED:
        return errors.AccessDenied
    if code in _THROTTLED or status == 429:
        return errors.Throttled
    if "NotFound" in code or "Nonexistent" in code or code.startswith("NoSuch"):
        return errors.NotFound
    if code.removesuffix("Exception").endswith(_FULL):
        return errors.QuotaExceeded
    if status >= 500:
        return errors.Unavailable
    return errors.CloudError
