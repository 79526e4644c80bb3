"""AWS: clients for one account and region, which read freely and change only what a plan holds."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from typing import Any, TypeVar

import boto3
import botocore.loaders
import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError

from firedoor import errors
from firedoor.model.finding import GLOBAL
from firedoor.model.plan import LATER, Call, CallRecord, Check, Outcome
from firedoor.settings import settings

T = TypeVar("T")

# Operations with these beginnings only read, in the services that actions look at. Elsewhere some
# of them hand out credentials or even create users.
READ_FROM = frozenset(
    {
        "autoscaling", "cloudfront", "cloudtrail", "ebs", "ec2", "ecs", "eks", "elb", "elbv2",
        "guardduty", "iam", "identitystore", "kms", "lambda", "logs", "network-firewall",
        "organizations", "rds", "resourcegroupstaggingapi", "route53resolver", "s3", "s3control",
        "security-ir", "service-quotas", "shield", "ssm", "sso-admin", "support", "wafv2",
    }
)  # fmt: skip
READS = ("BatchGet", "Describe", "Filter", "Get", "Head", "List", "Lookup", "Search", "Simulate")
# Services whose other reads hand out what only its owner should see.
READS_OF = {
    "dynamodb": ("Describe", "List"),
    "ecr": ("Describe", "List"),
    "secretsmanager": ("Describe", "List"),
    "sts": ("GetCallerIdentity",),
}
DRY_RUNS = frozenset({"ec2", "network-firewall"})

# Reads at once: services throttle an account as a whole.
SIDE_BY_SIDE = 16

# What is asked first about an instance; a service takes up to a quarter of a second to be read.
USUAL = ("ec2", "iam", "sts", "autoscaling", "elbv2", "cloudtrail", "kms", "ssm")

# One attempt: Temporal retries whole activities, which look before they act. A retry inside the SDK
# would repeat a call whose answer was lost, and the two kinds of retry would multiply.
CONFIG = Config(
    retries={"total_max_attempts": 1},
    connect_timeout=3,
    read_timeout=15,
    max_pool_connections=50,
    user_agent_extra="firedoor",
)

_DENIED = {
    "AccessDenied", "AccessDeniedException", "AuthFailure", "ExpiredToken", "InvalidClientTokenId",
    "UnauthorizedOperation",
}  # fmt: skip
# Too many calls, or too many at once on one thing: the same call is accepted later.
_THROTTLED = {
    "ConcurrentModification", "ConcurrentModificationException", "EntityTemporarilyUnmodifiable",
    "RequestLimitExceeded", "SlowDown", "SnapshotCreationPerVolumeRateExceeded", "Throttling",
    "ThrottlingException", "TooManyRequestsException",
}  # fmt: skip


@dataclass
class Permit:
    """The changing calls that are allowed now, and those that were made."""

    home: "Aws"
    planned: Sequence[Call]
    made: list[CallRecord] = field(default_factory=list)


_permit: ContextVar[Permit | None] = ContextVar("permit", default=None)


class Aws:
    """Clients for one account and region; threads may share it.

    A client's errors are `firedoor.errors.CloudError`. A changing call that no plan in force holds
    raises `UnplannedCall` before it is sent.
    """

    def __init__(self, account: str, region: str, session: boto3.Session) -> None:
        self.account = account
        self.region = region
        self._session = session
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service."""
        with self._lock:  # boto3 sessions are not safe for threads; their clients are
            if service not in self._clients:
                client = self._session.client(service, region_name=self.region, config=CONFIG)
                events = client.meta.events
                events.register("provide-client-params", partial(_permit_or_raise, self))
                events.register("after-call", _record)
                events.register("after-call-error", _record_lost)
                self._clients[service] = client
            return self._clients[service]

    def elsewhere(self, *, account: str = "", region: str = "") -> "Aws":
        """Return the clients for another account or region; what is not said stays the same."""
        if (account or self.account, region or self.region) == (self.account, self.region):
            return self
        return connect(account or self.account, region or self.region)

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

    @cached_property
    def identity(self) -> str:
        """The ARN that we act as."""
        return str(self.client("sts").get_caller_identity()["Arn"])

    @cached_property
    def partition(self) -> str:
        """`aws`, `aws-cn`, `aws-us-gov` …, for ARNs."""
        return self._session.get_partition_for_region(self.region)


@cache
def connect(account: str, region: str) -> Aws:
    """Return the clients for an account and region.

    In another account than our own the role `FIREDOOR_AWS_ROLE` is assumed. What has no region is
    asked in the session's own, or in us-east-1.
    """
    base = _session()
    region = region if region != GLOBAL else base.region_name or "us-east-1"
    role = settings().aws_role
    if role is None or account == _own_account(region):
        return Aws(account, region, base)
    return Aws(account, region, _assumed(base, account, region, role))


def warm_up() -> None:
    """Read from disk what the clients of most responses need, before a finding waits for it.

    Nothing is asked of AWS, and what is wrong with our set-up is left for the first call to say.
    """
    with suppress(BotoCoreError):
        session = _session()
        for service in USUAL:
            session.client(service, region_name="us-east-1", config=CONFIG)


@cache
def _own_account(region: str) -> str:
    sts = _session().client("sts", region_name=region, config=CONFIG)
    return str(sts.get_caller_identity()["Account"])


def _session(inner: botocore.session.Session | None = None, **options: Any) -> boto3.Session:
    """Return a session; what one of them read of a service from disk, all have."""
    inner = inner or botocore.session.Session()
    inner.register_component("data_loader", _loader(inner.get_config_variable("data_path")))
    return boto3.Session(botocore_session=inner, **options)


@cache
def _loader(path: str | None) -> botocore.loaders.Loader:
    return botocore.loaders.create_loader(path)


def _assumed(base: boto3.Session, account: str, region: str, role: str) -> boto3.Session:
    partition = base.get_partition_for_region(region)
    extra = {"RoleSessionName": "firedoor"}
    if external_id := settings().aws_external_id:
        extra["ExternalId"] = external_id
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=base._session.create_client,
        source_credentials=base.get_credentials(),
        role_arn=f"arn:{partition}:iam::{account}:role/{role}",
        extra_args=extra,
    )
    inner = botocore.session.Session()
    inner._credentials = DeferredRefreshableCredentials(  # type: ignore[attr-defined]
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
    return _session(inner, region_name=region)


def _permit_or_raise(
    aws: Aws, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any
) -> None:
    service = model.service_model.service_name
    if _only_reads(service, model.name, params):
        return
    call = Call(
        service=service,
        operation=model.name,
        parameters=json.loads(json.dumps(params, default=str)),
        account=aws.account,
        region=aws.region,
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
    # A server that failed may have done it first.
    _note(context, request_id, Outcome.UNKNOWN if status >= 500 else Outcome.ERROR, str(error))
    raise error


def _record_lost(exception: Exception, context: dict[str, Any], **_: Any) -> None:
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
    if "NotFound" in code or code.startswith("NoSuch"):
        return errors.NotFound
    if code.endswith(("LimitExceeded", "LimitExceededException")):
        return errors.QuotaExceeded
    if status >= 500:
        return errors.Unavailable
    return errors.CloudError
