"""What the name of an object tells of whose it is."""

import re

_ACCOUNT = re.compile(r"(?:^|[/_]|=)(\d{12})(?=[/_])")
_REGION = re.compile(r"(?:^|[/_]|=)([a-z]{2,4}(?:-[a-z]+){1,2}-\d{1,2})(?=[/_])")
_SUBSCRIPTION = re.compile(
    r"(?:/subscriptions/|flowLogResourceID=/)([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})", re.I
)
AWS_LOGS = "AWSLogs/"
"""The folder that services of AWS write to."""


def aws(name: str) -> tuple[str, str]:
    """Return the account and the region of AWS, as far as a name tells them."""
    below = name.partition(AWS_LOGS)[2] or name
    account, region = _ACCOUNT.search(below), _REGION.search(below)
    return account[1] if account else "", region[1] if region else ""


def azure(name: str) -> str:
    """Return the subscription of Azure, if a name tells it."""
    found = _SUBSCRIPTION.search(name)
    return found[1].lower() if found else ""


def copied(path: str) -> tuple[str, str]:
    """Return account and region of a file that was copied here with the folders it had."""
    if AWS_LOGS in path:
        return aws(path)
    return azure(path), ""
