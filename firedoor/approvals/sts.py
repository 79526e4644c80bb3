"""AWS itself as witness of whose a word is: a signed, unsent GetCallerIdentity request.

Whoever decides signs the request with their AWS credentials, and the word's digest among its
headers. A worker sends it on, and STS answers with the caller's ARN. The signature covers the
digest, so that the request is good for this word only, and AWS takes it for some minutes only.
https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.parsers import ResponseParserError, create_parser
from botocore.session import get_session

from firedoor.approvals._http import TIMEOUT, is_loopback, proxy, read
from firedoor.errors import BadInput, Unreachable
from firedoor.model.word import StsRequest

DECISION: Final = "X-Firedoor-Decision"
"""The header that binds a request to one word; a proxy in between has to let it through."""

GLOBAL: Final = "https://sts.amazonaws.com"
BODY: Final = b"Action=GetCallerIdentity&Version=2011-06-15"
CONTENT_TYPE: Final = "application/x-www-form-urlencoded; charset=utf-8"
REQUIRED: Final = ("Authorization", "Content-Type", "X-Amz-Date", DECISION)
OPTIONAL: Final = ("X-Amz-Security-Token",)  # with temporary credentials
NAMES: Mapping[str, str] = {name.lower(): name for name in (*REQUIRED, *OPTIONAL)}

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 "
    r"Credential=[A-Za-z0-9_]{1,128}/[0-9]{8}/[a-z0-9-]{1,32}/sts/aws4_request, "
    r"SignedHeaders=(?P<signed>[a-z0-9-]+(?:;[a-z0-9-]+)*), "
    r"Signature=[0-9a-f]{64}"
)
VALUE = re.compile(r"[!-~](?:[ -~]{0,8190}[!-~])?")

LARGEST_ANSWER = 1 << 16  # bytes
LATER = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded"})


def make(session: boto3.Session, region: str, digest: str) -> StsRequest:
    """Sign, and do not send, a request of a session's owner for the word with this digest.

    It is for the regional endpoint, or for the one that the SDK is set up for, as by
    `AWS_ENDPOINT_URL`. Raises `BadInput` if there are no credentials, or none that work.
    """
    try:
        url = f"{_endpoint(session, region)}/"
        credentials = session.get_credentials()
        if credentials is None:
            raise BadInput("AWS", "credentials", "there are none; log in, or name a profile")
        request = AWSRequest(
            "POST", url, {"Content-Type": CONTENT_TYPE, DECISION: digest}, data=BODY
        )
        SigV4Auth(credentials.get_frozen_credentials(), "sts", region).add_auth(request)
    except BotoCoreError as error:
        raise BadInput("AWS", "credentials", str(error)) from error
    return StsRequest(
        url=url, headers={name: str(value) for name, value in request.headers.items()}
    )


async def ask(request: StsRequest, digest: str, hosts: frozenset[str]) -> str:
    """Send the request to STS, and return the ARN of whoever signed it for this digest.

    Only what `make` could have made is sent, only to these hosts (`hosts()`), and with a body of
    our own. Raises `ValueError` with the reason if it is no proof, `Unreachable` if STS does not
    answer.

    Tested against an emulator, and against a server that recomputes the signature with botocore.
    Not proven: what AWS itself answers.
    """
    url, headers = request.url, _checked(request, digest, hosts)
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.post(
                url, data=BODY, headers=headers, proxy=proxy(url), allow_redirects=False
            ) as answer,
        ):
            status, body = answer.status, await read(answer, LARGEST_ANSWER)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unreachable(f"{url}: {str(error) or type(error).__name__}") from error
    return _arn(url, status, body)


def hosts() -> frozenset[str]:
    """Return the hosts of STS in all regions, and the one that this process is set up for."""
    session = boto3.Session()
    configured = _endpoint(session, session.region_name or "us-east-1")
    return _regional() | {urlsplit(configured).netloc}


@cache
def _regional() -> frozenset[str]:
    return frozenset(
        f"{service}.{region}.{partition['outputs']['dnsSuffix']}"
        for partition in get_session().get_data("partitions")["partitions"]
        for region in partition["regions"]
        if not region.endswith("-global")
        for service in ("sts", "sts-fips")
    )


def _endpoint(session: boto3.Session, region: str) -> str:
    client = session.client("sts", region_name=region)
    endpoint = str(client.meta.endpoint_url).rstrip("/")
    if endpoint == GLOBAL:  # old settings of the SDK lead to it, and it signs for one region only
        return f"https://sts.{region}.amazonaws.com"
    if not re.fullmatch(r"https?://[^/?#@]+", endpoint):
        raise BadInput("AWS", f"endpoint {endpoint}", "expected https://HOST, without a path")
    return endpoint


def _checked(request: StsRequest, digest: str, hosts: frozenset[str]) -> dict[str, str]:
    """Return the headers to send, or raise `ValueError` if anything is not as `make` makes it."""
    # An address is compared as a whole, so that no two parsers can read it differently.
    if request.url not in {url for host in hosts for url in _urls(host)}:
        raise ValueError("the request is not for an endpoint of AWS STS that we ask")
    given = {name.lower(): value for name, value in request.headers.items()}
    if len(given) != len(request.headers) or not given.keys() <= NAMES.keys():
        raise ValueError("the request has headers that it should not have")
    if any(name.lower() not in given for name in REQUIRED):
        raise ValueError(f"the request lacks one of the headers {', '.join(REQUIRED)}")
    if not all(VALUE.fullmatch(value) for value in given.values()):
        raise ValueError("a header of the request holds what no header may hold")
    if given["content-type"] != CONTENT_TYPE:
        raise ValueError(f"the request's Content-Type is not {CONTENT_TYPE}")
    authorization = AUTHORIZATION.fullmatch(given["authorization"])
    if authorization is None:
        raise ValueError("the request's Authorization is not a signature of version 4 for STS")
    if authorization["signed"].split(";") != sorted({*given, "host"} - {"authorization"}):
        raise ValueError(f"the request's signature does not cover {DECISION} and all else")
    if given[DECISION.lower()] != digest:
        raise ValueError("the request was signed for another word: it has another digest")
    return {NAMES[name]: value for name, value in given.items()}


def _urls(host: str) -> tuple[str, ...]:
    secure = f"https://{host}/"
    return (secure, f"http://{host}/") if is_loopback(urlsplit(secure).hostname) else (secure,)


def _arn(url: str, status: int, body: bytes) -> str:
    if status >= 500 or status == 429:
        raise Unreachable(f"{url}: HTTP {status}")
    said = _parsed(status, body)
    code = said.get("Error", {}).get("Code", "")
    if code in LATER:
        raise Unreachable(f"{url}: {code}")
    if status != 200:
        raise ValueError(f"AWS STS refuses the request: HTTP {status} {code[:100]}".rstrip())
    arn = said.get("Arn")
    if not isinstance(arn, str) or not arn.startswith("arn:"):
        raise ValueError("AWS STS answers, but names nobody")
    return arn


def _parsed(status: int, body: bytes) -> dict[str, Any]:
    """Return an answer as botocore reads it; what is no answer of STS is empty."""
    raw = {"status_code": status, "headers": {}, "body": body}
    try:
        parsed: dict[str, Any] = create_parser("query").parse(raw, _shape())
    except (ResponseParserError, KeyError):  # the latter, if the XML is another one
        return {}
    return parsed


@cache
def _shape() -> Any:
    return get_session().get_service_model("sts").operation_model("GetCallerIdentity").output_shape
