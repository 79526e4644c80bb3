"""What the collectors of AWS share: errors that say what is missing."""

from collections.abc import Callable
from typing import Final, TypeVar

from botocore.exceptions import BotoCoreError

from firedoor.errors import AccessDenied, Unavailable, Unreachable

T = TypeVar("T")

NOBODY: Final = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}


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
