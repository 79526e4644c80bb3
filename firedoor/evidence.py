"""Where preserved documents are kept: a directory, or an S3 bucket, under their own hash.

Where the bucket has Object Lock, what is put there can be neither altered nor deleted: for as long
as the bucket says by default, else until a person takes the legal hold off.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from firedoor.errors import BadInput, FiredoorError, Unreachable
from firedoor.model.base import Model, canonical, digest
from firedoor.model.evidence import Evidence
from firedoor.model.plan import Check
from firedoor.settings import settings

HEX = re.compile(r"[0-9a-f]{64}")


def keep(content: bytes, name: str, at: datetime) -> Evidence:
    """Store a document, and return where it is and how to tell that it is unchanged.

    The same content under the same name is stored once: the place is made from the hash.
    Raises `Unreachable` if the store does not take it.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    uri = _store(f"{sha256[:2]}/{sha256}/{name}", content)
    return Evidence(name=name, taken_at=at, uri=uri, sha256=sha256, size=len(content))


def fetch(uri: str) -> bytes:
    """Return the stored document that evidence points to.

    Raises `Unreachable` if it cannot be read, for one because it is not there any more.
    """
    content = _read(uri)
    if content is None:
        raise Unreachable(f"evidence {uri} is not there")
    return content


def checked(entry: Evidence) -> tuple[bytes, Check]:
    """Return a stored document as it is now, and whether that is still what was stored."""
    try:
        content = fetch(entry.uri)
    except FiredoorError as error:
        return b"", Check(name=entry.name, ok=False, detail=str(error))
    same = hashlib.sha256(content).hexdigest() == entry.sha256
    detail = entry.uri if same else f"{entry.uri} was altered"
    return content, Check(name=entry.name, ok=same, detail=detail)


def lock(uri: str) -> str | None:
    """Say how a document in a bucket is kept from being altered and deleted; None if it is not.

    A directory locks nothing. Raises `Unreachable` if the store does not tell.
    """
    stored = stat(uri)
    if stored is None:
        return None
    if stored.get("ObjectLockLegalHoldStatus") == "ON":
        return "legal hold"
    if until := stored.get("ObjectLockRetainUntilDate"):
        return f"{stored['ObjectLockMode'].lower()} until {until.astimezone(UTC).isoformat()}"
    return None


def stat(uri: str) -> dict[str, Any] | None:
    """Return what S3 says of an object without its content; None if it is not there.

    Raises `Unreachable` if it cannot be asked.
    """
    if urlparse(uri).scheme != "s3":
        return None
    with _store_answers(uri):
        try:
            return dict(_s3().head_object(**_object(uri)))
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
            return None


def record(plan_digest: str, evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Write down what was preserved for a plan, and return it; what was written first stays."""
    entries = [entry.model_dump(mode="json") for entry in evidence]
    _store(_record_place(plan_digest), json.dumps(entries, indent=2).encode())
    return recorded(plan_digest)


def recorded(plan_digest: str) -> tuple[Evidence, ...]:
    """Return what was preserved for a plan; nothing if that was not written down yet.

    A bucket must let us list it: S3 answers AccessDenied for what is not there otherwise.
    """
    content = _read(_uri(_record_place(plan_digest)))
    return tuple(Evidence.model_validate(entry) for entry in json.loads(content or b"[]"))


class Pin(StrEnum):
    """What is kept beside evidence so that workers know it for their own; and its directory."""

    POLICY = "policies"
    RUNBOOK = "runbooks"
    VOUCHER = "vouchers"


def pin(kind: Pin, value: Model) -> None:
    """Keep a value under its digest, so that every worker can tell later that it is ours.

    Raises `Unreachable` if the store does not take it.
    """
    _store(_pin_place(kind, digest(value)), canonical(value))


def pinned(kind: Pin, name: str) -> bytes | None:
    """Return the value with a digest, or None if this installation never had it.

    Raises `Unreachable` if the store does not tell.
    """
    content = _read(_uri(_pin_place(kind, name))) if HEX.fullmatch(name) else None
    whole = content is not None and hashlib.sha256(content).hexdigest() == name
    return content if whole else None


def _pin_place(kind: Pin, name: str) -> str:
    return f"{kind}/{name}.json"


def _record_place(plan_digest: str) -> str:
    return f"plans/{plan_digest}.json"


def _uri(place: str) -> str:
    root = settings().evidence or str(settings().data / "evidence")
    if root.startswith("s3://"):
        return f"{root.rstrip('/')}/{place}"
    return (Path(root).expanduser().resolve() / place).as_uri()


def _store(place: str, content: bytes) -> str:
    uri = _uri(place)
    with _store_answers(uri):
        match urlparse(uri).scheme:
            case "s3":
                _to_bucket(uri, content)
            case _:
                _to_directory(uri, content)
    return uri


def _read(uri: str) -> bytes | None:
    with _store_answers(uri):
        match urlparse(uri).scheme:
            case "s3":
                return _from_bucket(uri)
            case "file":
                path = _path(uri)
                return path.read_bytes() if path.is_file() else None
            case _:
                raise BadInput("evidence", uri, "a document that we hold: file: or s3:")


def _to_directory(uri: str, content: bytes) -> None:
    path = _path(uri)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(partial).rename(path)  # whole or not at all, however the process ends


def _to_bucket(uri: str, content: bytes) -> None:
    place = _object(uri)
    put = partial(
        _s3().put_object, **place, Body=content, ChecksumAlgorithm="SHA256", IfNoneMatch="*"
    )
    hold = {"ObjectLockLegalHoldStatus": "ON"} if _wants_hold(place["Bucket"]) else {}
    try:
        put(**hold)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if hold and code == "AccessDenied":  # an open document is better than none
            put()
        elif code != "PreconditionFailed":  # it is there already
            raise


def _wants_hold(bucket: str) -> bool:
    """Return whether a bucket has Object Lock, but locks nothing by itself."""
    try:
        answer = _s3().get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    except (
        ClientError
    ):  # it has none, or we may not know: then verifying says that it is not locked
        return False
    return answer.get("ObjectLockEnabled") == "Enabled" and "Rule" not in answer


def _from_bucket(uri: str) -> bytes | None:
    try:
        return bytes(_s3().get_object(**_object(uri))["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return None


def _path(uri: str) -> Path:
    return Path(url2pathname(urlparse(uri).path))


def _object(uri: str) -> dict[str, str]:
    url = urlparse(uri)
    return {"Bucket": url.netloc, "Key": url.path.lstrip("/")}


def _s3() -> Any:
    return boto3.Session().client("s3")  # sessions are not safe for threads


@contextmanager
def _store_answers(uri: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise Unreachable(f"evidence {uri}: {error}") from error
