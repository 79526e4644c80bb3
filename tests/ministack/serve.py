"""ministack, which lacks some kinds of credentials of a user: here nobody has any of those."""

import os
import sys
import threading

from ministack.app import main  # type: ignore[import-not-found]
from ministack.services import iam  # type: ignore[import-not-found]

LACKING = {
    "ListSSHPublicKeys": "SSHPublicKeys",
    "ListServiceSpecificCredentials": "ServiceSpecificCredentials",
    "ListSigningCertificates": "Certificates",
}


def none_of(operation: str, items: str) -> object:
    """Return what answers an operation with an empty list."""
    result = f"<{operation}Result><{items}/></{operation}Result>"
    return lambda _: iam._xml(200, f"{operation}Response", result)


for operation, items in LACKING.items():
    iam._IAM_HANDLERS.setdefault(operation, none_of(operation, items))


def end_with_stdin() -> None:
    """End when whoever started this ends, in whatever way."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    main()
