"""Reads in AWS for ourselves, with errors that say what is missing."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError

from firedoor.cloud import aws
from firedoor.errors import AccessDenied, Unavailable, Unreachable

T = TypeVar("T")

NOBODY: Final = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}

BROKEN: Final = (BotoCoreError, OSError)
"""What a body raises whose connection breaks."""


def client(service: str, account: str = "", region: str = "") -> Any:
    """Return the client of a service: in our own account, or in another by its role."""
    if account:
        return aws.connect(account, region).client(service)
    return aws.own(service)


def asked(read: Callable[[], T], what: str) -> T:
    """Return what a call of a client returns.

    Raises `CloudError`, or `Unreachable` if AWS cannot be asked.
    """
    try:
        return read()
    except Unavailable as error:
        if error.code not in NOBODY:
            raise
        # Trying again does not help.
        raise AccessDenied(error.code, "no credentials for AWS here", what) from error
    except BotoCoreError as error:
        raise Unreachable(f"{what}: {error}") from error
