"""Where preserved documents are kept: a directory, or an S3 bucket, under their own hash."""

import hashlib
from datetime import datetime
from pathlib import Path
from urllib.parse import urlparse

import boto3
from botocore.exceptions import ClientError

from firedoor.model.evidence import Evidence
from firedoor.settings import settings


def keep(content: bytes, name: str, at: datetime) -> Evidence:
    """Store a document, and return where it is and how to tell that it is unchanged.

    The same content under the same name is stored once: the place is made from the hash.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    place = f"{sha256[:2]}/{sha256}/{name}"
    root = settings().evidence or str(settings().data / "evidence")
    uri = _to_bucket(root, place, content) if root.startswith("s3://") else _to_directory(root, place, content)
    return Evidence(name=name, taken_at=at, uri=uri, sha256=sha256, size=len(content))


def _to_directory(root: str, place: str, content: bytes) -> str:
    path = Path(root).expanduser().resolve() / place
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(content)
        partial.rename(path)  # whole or not at all, however the process ends
    return path.as_uri()


def _to_bucket(root: str, place: str, content: bytes) -> str:
    url = urlparse(root)
    key = f"{url.path.strip('/')}/{place}".lstrip("/")
    s3 = boto3.client("s3")
    try:
        s3.put_object(
            Bucket=url.netloc, Key=key, Body=content, ChecksumAlgorithm="SHA256", IfNoneMatch="*"
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":  # it is there already
            raise
    return f"s3://{url.netloc}/{key}"
