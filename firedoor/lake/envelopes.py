"""Envelopes in which log records travel: CloudWatch Logs, Kinesis, EventBridge, Pub/Sub."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from isal import isal_zlib

from firedoor.log_source import Place

# One of these is in every envelope; a record in which none is need not be decoded to be told.
MARK: Final = re.compile(
    rb'"(?:awslogs|logEvents|kinesis|detail-type|CloudTrailEvent|message|data|Message|body)"\s*:'
)
GZIP: Final = b"\x1f\x8b"
LARGEST: Final = 64 << 20
"""How much may be packed in an envelope, in bytes."""
_WRONG: Final = (
    msgspec.MsgspecError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError, EOFError,
    LookupError, TypeError, OSError, isal_zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Inner:
    """What an envelope held: lines, or JSON records."""

    place: Place
    lines: bytes = b""
    raws: Sequence[msgspec.Raw] = ()


class _Bridged(msgspec.Struct):
    """An event of EventBridge, its record as it was written."""

    detail: msgspec.Raw


def open_(raw: msgspec.Raw, place: Place) -> Inner | None:
    """Return what an envelope holds, or None if a record is not one, or is damaged."""
    try:
        record = msgspec.json.decode(raw)
        return _opened(record, raw, place) if isinstance(record, dict) else None
    except _WRONG:  # type: ignore[misc]
        return None


def _opened(record: dict[str, Any], raw: msgspec.Raw, place: Place) -> Inner | None:
    match record:
        case {"logEvents": list(events), "messageType": "DATA_MESSAGE"}:
            known = replace(place, account=str(record.get("owner") or place.account))
            return _texts([str(event["message"]) for event in events], known)
        case {"messageType": "CONTROL_MESSAGE"}:
            return Inner(place)
        case {"awslogs": {"data": str(data)}}:
            return _packed(data, place)
        case {"kinesis": {"data": str(data)}} | {"recordId": str(), "data": str(data)}:
            return _packed(data, place)
        case {"message": {"data": str(data)}} | {"data": str(data), "messageId": str()}:
            return _packed(data, place)
        case {"detail-type": str(), "detail": dict()}:
            return Inner(place, raws=[msgspec.json.decode(raw, type=_Bridged).detail])
        case {"CloudTrailEvent": str(text)}:
            return _texts([text], place)
    return None


def _packed(data: str, place: Place) -> Inner:
    content = base64.b64decode(data, validate=True)
    if content.startswith(GZIP):
        content = _inflated(content)
    return _texts(content.decode().splitlines(), place)


def _inflated(content: bytes) -> bytes:
    parts: list[bytes] = []
    room = LARGEST + 1
    while content and room > 0:
        inflater = isal_zlib.decompressobj(wbits=31)
        parts.append(inflater.decompress(content, room))
        room -= len(parts[-1])
        if room > 0 and not inflater.eof:
            raise ValueError("expected gzip: it ends too early")
        content = inflater.unused_data
    if room <= 0:
        raise ValueError(f"it unpacks to over {LARGEST >> 20} MB")
    return b"".join(parts)


def _texts(texts: list[str], place: Place) -> Inner:
    if all(text.lstrip()[:1] in ("{", "[") for text in texts):
        return Inner(place, raws=[msgspec.Raw(text.encode()) for text in texts if text.strip()])
    return Inner(place, lines="".join(f"{text}\n" for text in texts).encode())
