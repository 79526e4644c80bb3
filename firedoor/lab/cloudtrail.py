"""CloudTrail's event history: the calls that were made here, and events that a test puts in.

Our model of AWS, after the user guide. Every call that is signed becomes a management event in the
account and region that it was made in, IAM's in us-east-1; calls on data (objects, items, messages,
invocations) do not. Calls with a key that does not exist or is inactive leave no event, as they
belong to nobody. An event is there at once; AWS takes some minutes.

Request parameters are those of the wire with a small first letter, flat where EC2 and IAM have
them flat. Responses are kept of AssumeRole alone.
"""

import hashlib
import json
import re
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any
from urllib.parse import parse_qsl

from moto.cloudtrail.models import cloudtrail_backends
from moto.cloudtrail.responses import CloudTrailResponse
from moto.core.exceptions import JsonRESTError
from moto.iam.models import get_account_id_from, iam_backends
from moto.sts.models import AssumedRole, sts_backends

from firedoor.lab import patch
from firedoor.lab.request import Answer, AwsRequest
from firedoor.lab.server import ACCOUNT

MOST_EVENTS = 20_000
"""Events that are kept for an account and region; the oldest go."""

HISTORY = timedelta(days=90)

_HOME = "us-east-1"
_PARTITION = "aws"
_LEFT_OUT = {"Action", "NewPassword", "OldPassword", "Password", "Version"}
_MOST_BODY = 16_384  # of what is larger, the parameters are left out
_GLOBAL = {"cloudfront", "iam", "organizations", "shield", "support"}
_SOURCES = {
    "elbv2": "elasticloadbalancing", "elb": "elasticloadbalancing", "cloudwatch": "monitoring",
    "stepfunctions": "states", "service-quotas": "servicequotas",
    "resourcegroupstaggingapi": "tagging",
}  # fmt: skip
# What concerns data, not the management of what holds it.
_DATA = {
    "dynamodb": ("BatchGetItem", "BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query",
                 "Scan", "UpdateItem"),
    "kinesis": ("GetRecords", "PutRecord"),
    "lambda": ("Invoke",),
    "logs": ("FilterLogEvents", "GetLogEvents", "PutLogEvents"),
    "s3": ("AbortMultipartUpload", "CompleteMultipartUpload", "CopyObject", "CreateMultipartUpload",
           "DeleteObject", "GetObject", "HeadBucket", "HeadObject", "ListObjects", "ListParts",
           "PutObject", "UploadPart"),
    "sns": ("Publish",),
    "sqs": ("ChangeMessageVisibility", "DeleteMessage", "ReceiveMessage", "SendMessage"),
}  # fmt: skip
_READS = ("BatchGet", "Describe", "Get", "Head", "List", "Lookup", "Simulate")
_UNKNOWN_CALLER = {
    "AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException",
}  # fmt: skip

# Which parameters name a resource, and of which type.
_RESOURCES = {
    "accessKeyId": "AWS::IAM::AccessKey",
    "bucketName": "AWS::S3::Bucket",
    "functionName": "AWS::Lambda::Function",
    "groupId": "AWS::EC2::SecurityGroup",
    "instanceId": "AWS::EC2::Instance",
    "instanceProfileName": "AWS::IAM::InstanceProfile",
    "networkAclId": "AWS::EC2::NetworkAcl",
    "networkInterfaceId": "AWS::EC2::NetworkInterface",
    "policyArn": "AWS::IAM::Policy",
    "roleArn": "AWS::IAM::Role",
    "roleName": "AWS::IAM::Role",
    "userName": "AWS::IAM::User",
}
_ERROR_CODE = re.compile(rb"<Code>([^<]+)</Code>")
_ISSUED_KEY = re.compile(rb"<AccessKeyId>([^<]+)</AccessKeyId>")

_ATTRIBUTES = {
    "AccessKeyId", "EventId", "EventName", "EventSource", "ReadOnly", "ResourceName",
    "ResourceType", "Username",
}  # fmt: skip

Record = dict[str, Any]


def install() -> None:
    """Add LookupEvents to moto's CloudTrail."""
    patch.add(CloudTrailResponse, lookup_events)


def record(request: AwsRequest, answer: Answer) -> None:
    """Keep a call as an event, if CloudTrail would."""
    service, operation = request.service, request.operation
    if not request.access_key or not operation or operation in _DATA.get(service, ()):
        return
    status, _, body = answer
    error = "" if status.startswith(("2", "3")) else _error_code(service, answer)
    if error.removeprefix("Client.") in _UNKNOWN_CALLER:
        return
    assumed = operation.startswith("AssumeRole") and not error
    event = {
        "eventTime": _text(datetime.now(UTC)),
        "eventSource": f"{_SOURCES.get(service, service)}.amazonaws.com",
        "eventName": operation,
        "awsRegion": _HOME if service in _GLOBAL else request.region,
        "sourceIPAddress": str(request.environ.get("REMOTE_ADDR", "")),
        "userAgent": str(request.environ.get("HTTP_USER_AGENT", "")),
        "userIdentity": _caller(request.access_key),
        "requestParameters": _parameters(request),
        "responseElements": _issued(body) if assumed else None,
        "readOnly": operation.startswith(_READS),
    }
    put(event | ({"errorCode": error} if error else {}))


def put(event: Mapping[str, Any]) -> dict[str, str]:
    """Add an event as CloudTrail's records are, and return its id.

    What is not said is as in a call that the root user made just now.
    """
    who = event.get("userIdentity") or _root(ACCOUNT, "")
    full = {
        "eventVersion": "1.11",
        "eventTime": _text(datetime.now(UTC)),
        "eventSource": "ec2.amazonaws.com",
        "eventName": "DescribeInstances",
        "awsRegion": _HOME,
        "sourceIPAddress": "198.51.100.7",
        "userAgent": "",
        "requestParameters": None,
        "responseElements": None,
        "requestID": str(uuid.uuid4()),
        "eventID": str(uuid.uuid4()),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": who.get("accountId", ACCOUNT),
        "eventCategory": "Management",
        **event,
        "userIdentity": who,
    }
    _history(full["recipientAccountId"], full["awsRegion"]).append(_entry(full))
    return {"eventID": full["eventID"]}


def lookup_events(self: CloudTrailResponse) -> str:
    """List the events of this region that have an attribute, newest first, in pages."""
    asked = json.loads(self.body or "{}")
    token = asked.pop("NextToken", None)
    start, most = _begin(asked, token), asked.get("MaxResults", 50)
    if not 1 <= most <= 50:
        raise TrailError("InvalidMaxResultsException", "MaxResults is from 1 to 50.")
    attributes = asked.get("LookupAttributes") or []
    if len(attributes) > 1 or any(a.get("AttributeKey") not in _ATTRIBUTES for a in attributes):
        raise TrailError("InvalidLookupAttributesException", "Give one known lookup attribute.")
    first = asked.get("StartTime", (datetime.now(UTC) - HISTORY).timestamp())
    last = asked.get("EndTime", datetime.now(UTC).timestamp())
    if first > last:
        raise TrailError("InvalidTimeRangeException", "The start is after the end.")
    if asked.get("EventCategory"):
        return json.dumps({"Events": []})  # of insights, there are none
    history = [
        entry
        for entry in list(_history(self.current_account, self.region))
        if first <= entry["EventTime"] <= last and all(_has(entry, a) for a in attributes)
    ]
    # Newest first; of two at the same instant, the one that came later.
    history.reverse()
    newest = sorted(history, key=itemgetter("EventTime"), reverse=True)
    answer: dict[str, Any] = {"Events": newest[start : start + most]}
    if start + most < len(newest):
        answer["NextToken"] = _token(asked, start + most)
    return json.dumps(answer)


class TrailError(JsonRESTError):
    """CloudTrail says no."""


def _history(account: str, region: str) -> deque[Record]:
    backend = cloudtrail_backends[account][region]
    history: deque[Record] = vars(backend).setdefault("history", deque(maxlen=MOST_EVENTS))
    return history


def _entry(event: Mapping[str, Any]) -> Record:
    """Return an event as LookupEvents lists it."""
    who = event["userIdentity"]
    return {
        "EventId": event["eventID"],
        "EventName": event["eventName"],
        "ReadOnly": str(event["readOnly"]).lower(),
        "AccessKeyId": who.get("accessKeyId", ""),
        "EventTime": datetime.fromisoformat(event["eventTime"]).timestamp(),
        "EventSource": event["eventSource"],
        "Username": _username(who),
        "Resources": list(_resources(event)),
        "CloudTrailEvent": json.dumps(event),
    }


def _has(entry: Record, attribute: Mapping[str, str]) -> bool:
    name, value = attribute["AttributeKey"], attribute["AttributeValue"]
    if name in ("ResourceName", "ResourceType"):
        return any(resource[name] == value for resource in entry["Resources"])
    return bool(entry[name] == value)


def _username(who: Mapping[str, Any]) -> str:
    match who.get("type"):
        case "Root":
            return "root"
        case "AssumedRole" | "FederatedUser":
            return str(who.get("arn", "")).rpartition("/")[2]
        case _:
            return str(who.get("userName", ""))


def _resources(event: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for name, value in (event.get("requestParameters") or {}).items():
        if (kind := _RESOURCES.get(name.partition(".")[0])) and isinstance(value, str):
            yield {"ResourceType": kind, "ResourceName": value}
    for resource in event.get("resources") or ():
        yield {"ResourceType": resource.get("type", ""), "ResourceName": resource.get("ARN", "")}


def _caller(key: str) -> dict[str, Any]:
    """Return whose a key is; what is nobody's is the root user's, as in moto."""
    account = key if re.fullmatch(r"\d{12}", key) else get_account_id_from(key)
    access_key = iam_backends[account][_PARTITION].access_keys.get(key)
    if access_key and access_key.user_name:
        user = iam_backends[account][_PARTITION].users.get(access_key.user_name)
        return {
            "type": "IAMUser",
            "principalId": user.id if user else "",
            "arn": user.arn if user else "",
            "accountId": account,
            "accessKeyId": key,
            "userName": access_key.user_name,
        }
    session = sts_backends[account][_PARTITION].get_assumed_role_from_access_key(key)
    return _session(account, session) if session else _root(account, key)


def _session(account: str, session: AssumedRole) -> dict[str, Any]:
    issuer = {
        "type": "Role",
        "principalId": session.user_id.partition(":")[0],
        "arn": session.role_arn,
        "accountId": account,
        "userName": session.role_arn.rpartition("/")[2],
    }
    created = session.access_key.create_date.replace(tzinfo=UTC)
    return {
        "type": "AssumedRole",
        "principalId": session.user_id,
        "arn": session.arn,
        "accountId": account,
        "accessKeyId": session.access_key_id,
        "sessionContext": {
            "sessionIssuer": issuer,
            "attributes": {"creationDate": _text(created), "mfaAuthenticated": "false"},
        },
    }


def _root(account: str, key: str) -> dict[str, Any]:
    return {
        "type": "Root",
        "principalId": account,
        "arn": f"arn:aws:iam::{account}:root",
        "accountId": account,
        "accessKeyId": key,
    }


def _parameters(request: AwsRequest) -> dict[str, Any] | None:
    """Return what the call said, with names as CloudTrail begins them."""
    body = request.body
    if len(body) > _MOST_BODY:
        return None
    if request.service == "s3":
        bucket = str(request.environ["PATH_INFO"]).strip("/").partition("/")[0]
        return {"bucketName": bucket} if bucket else None
    try:
        said = json.loads(body) if body[:1] == b"{" else dict(parse_qsl(body.decode()))
    except ValueError:
        return None
    return {
        name[:1].lower() + name[1:]: value for name, value in said.items() if name not in _LEFT_OUT
    }


def _issued(body: bytes) -> dict[str, Any] | None:
    found = _ISSUED_KEY.search(body)
    return {"credentials": {"accessKeyId": found[1].decode()}} if found else None


def _error_code(service: str, answer: Answer) -> str:
    status, headers, body = answer
    if found := _ERROR_CODE.search(body):
        code = found[1].decode()
        return f"Client.{code}" if service == "ec2" else code
    named = {name.lower(): value for name, value in headers}.get("x-amzn-errortype", "")
    try:
        named = named or json.loads(body).get("__type", "")
    except (ValueError, AttributeError):
        named = status.split()[0]
    return named.rpartition("#")[2].partition(":")[0]


def _begin(asked: Mapping[str, Any], token: str | None) -> int:
    if token is None:
        return 0
    number = token.partition("-")[0]
    if not number.isdecimal() or token != _token(asked, int(number)):
        raise TrailError("InvalidNextTokenException", "The token is of another request.")
    return int(number)


def _token(asked: Mapping[str, Any], start: int) -> str:
    seen = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return f"{start}-{seen}"


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
