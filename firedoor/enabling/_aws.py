"""What the switches of AWS share: clients, commands that say what a call does, buckets."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore import xform_name

from firedoor.cloud.aws import Aws, connect
from firedoor.errors import AccessDenied, BadInput, CloudError, NotFound
from firedoor.model.plan import Call
from firedoor.switch import Order, Step

TAG: Final = {"Key": "firedoor", "Value": "logs"}
"""Marks what we made, so that it can be found to be taken back."""
BUCKET_PERMISSIONS: Final = ("s3:ListBucket", "s3:GetBucketPolicy", "s3:PutBucketPolicy")

_DESTINATION = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\w!./=-]*?))?/?")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}")
_SERVICES = {"s3": "s3api"}
# What answers 200 and still names what it did not do.
_UNDONE = ("Unsuccessful", "UnprocessedAccounts", "FailedResources")


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the folder in it that logs go to."""

    name: str
    prefix: str
    partition: str

    @property
    def arn(self) -> str:
        """The ARN of the folder."""
        return f"arn:{self.partition}:s3:::{self.name}" + (f"/{self.prefix}" if self.prefix else "")

    def objects(self, account: str) -> str:
        """Return the ARN of what a service of AWS writes for an account."""
        return f"{self.arn}/AWSLogs/{account}/*"


def clients(order: Order) -> Aws:
    """Return the clients for where something is to be switched on; raises `BadInput`."""
    if not _REGION.fullmatch(order.region):
        raise BadInput("region", order.region or "none", "expected one, as eu-central-1")
    return connect(order.account, order.region)


def bucket(order: Order, aws: Aws) -> Bucket:
    """Return where logs go; raises `BadInput` if that is no bucket, or is not there."""
    found = _DESTINATION.fullmatch(order.destination)
    if found is None:
        raise BadInput("destination", order.destination or "none", "expected s3://bucket/prefix")
    try:
        aws.client("s3").head_bucket(Bucket=found[1])
    except AccessDenied:
        pass  # it is somebody else's, who may let the service write all the same
    except CloudError as error:
        if not isinstance(error, NotFound) and error.code != "404":
            raise
        raise BadInput("destination", order.destination, "there is no such bucket") from error
    return Bucket(found[1], found[2] or "", aws.partition)


def call(service: str, operation: str, *, region: str = "", **parameters: Any) -> Call:
    """Return a call."""
    return Call(service=service, operation=operation, parameters=parameters, region=region)


def command(call: Call, region: str) -> str:
    """Return the command of the AWS CLI that makes a call."""
    words = ["aws", _SERVICES.get(call.service, call.service), xform_name(call.operation, "-")]
    for name, value in call.parameters.items():
        option = f"--{xform_name(name, '-')}"
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            words += [option, *map(str, value)]
        else:
            words += [option, value if isinstance(value, str) else json.dumps(value)]
    return shlex.join([*words, "--region", call.region or region])


def step(
    title: str, aws: Aws, *calls: Call, undo: Sequence[Call | str], cost: str = "", note: str = ""
) -> Step:
    """Return a step of these calls."""
    return Step(
        title=title,
        calls=calls,
        commands=tuple(command(one, aws.region) for one in calls),
        undo=tuple(one if isinstance(one, str) else command(one, aws.region) for one in undo),
        cost=cost,
        note=note,
    )


def apply(step: Step, order: Order) -> None:
    """Make the calls of a step and no others; raises `CloudError`."""
    aws = clients(order)
    with aws.only(step.calls):
        for one in step.calls:
            check(one, aws.call(one))


def check(call: Call, answer: dict[str, Any]) -> None:
    """Raise `CloudError` if an answer says that something was not done after all."""
    for name in _UNDONE:
        for undone in answer.get(name) or ():
            error = undone.get("Error", undone)
            code, message = error.get("Code", name), error.get("Message", json.dumps(undone))
            raise CloudError(code, message, call.operation)


def allow(aws: Aws, bucket: Bucket, statements: Sequence[dict[str, Any]]) -> Step:
    """Return the step that lets a service write to a bucket; statements are known by their `Sid`.

    What the policy says otherwise stays as it is.
    """
    title = f"Bucket {bucket.name} lets {statements[0]['Principal']['Service']} write logs"
    before = _policy(aws, bucket.name)
    policy = before or {"Version": "2012-10-17", "Statement": []}
    said = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    if all(one in said for one in statements):
        return Step(title=title, found="its policy says so")
    ours = {one["Sid"] for one in statements}
    kept = [one for one in said if one.get("Sid") not in ours]
    put = _put(bucket.name, {**policy, "Statement": [*kept, *statements]})
    undo = _put(bucket.name, before) if before else call(
        "s3", "DeleteBucketPolicy", Bucket=bucket.name
    )  # fmt: skip
    return step(title, aws, put, undo=[undo])


def _policy(aws: Aws, name: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(aws.client("s3").get_bucket_policy(Bucket=name)["Policy"]))
    except NotFound:
        return None


def _put(name: str, policy: dict[str, Any]) -> Call:
    return call("s3", "PutBucketPolicy", Bucket=name, Policy=json.dumps(policy))
