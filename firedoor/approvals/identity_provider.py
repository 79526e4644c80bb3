"""What is asked of an identity provider: its public keys, and, on a person's terminal, a token."""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from firedoor.approvals._http import TIMEOUT, is_loopback, proxy, read
from firedoor.approvals.oidc import fits, load
from firedoor.errors import BadInput, Unreachable
from firedoor.model.responder import Issuer

DISCOVERY: Final = "/.well-known/openid-configuration"

PUBLIC_MEMBERS = ("alg", "crv", "e", "kid", "kty", "n", "use", "x", "y")
LARGEST_DOCUMENT = 1 << 18  # bytes, of what a provider says of itself and its keys
PATIENCE = timedelta(minutes=5)  # for somebody to log in


async def fetch_key(token: str, issuer: Issuer) -> str:
    """Ask an issuer for the public key that a token says it is signed with, and return its JWK.

    Raises `ValueError` with the reason if the issuer has no such key or nothing usable to say, and
    `Unreachable` if it does not answer.
    """
    header = load(token)[0]
    root = issuer.issuer.removesuffix("/")
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        said = await _document(session, root + DISCOVERY, issuer)
        if said.get("issuer") != issuer.issuer:
            raise ValueError(f"{root}{DISCOVERY} speaks for another issuer")
        place = said.get("jwks_uri")
        if not isinstance(place, str):
            raise ValueError(f"{root}{DISCOVERY} names no jwks_uri")
        keys = (await _document(session, place, issuer)).get("keys")
    fitting = [key for key in keys if fits(key, header)] if isinstance(keys, list) else []
    if len(fitting) != 1:
        found = "no key" if not fitting else f"{len(fitting)} keys"
        raise ValueError(f"{issuer.issuer} has {found} for {header['alg']} with that kid")
    return _text({name: fitting[0][name] for name in PUBLIC_MEMBERS if name in fitting[0]})


def obtain(command: str | None, nonce: str) -> str:
    """Run the command that gets an ID token with this nonce, and return the token.

    It finds the nonce in `FIREDOOR_NONCE`, prints the token, and may speak with the person on
    standard error. Raises `BadInput` if it is not set, cannot be run, fails or prints no token.
    """
    where = "FIREDOOR_OIDC_COMMAND"
    if not command:
        raise BadInput("settings", where, "the command that prints an ID token for FIREDOOR_NONCE")
    try:
        done = subprocess.run(  # noqa: S603 - the person's own command, without a shell
            shlex.split(command),
            env={**os.environ, "FIREDOOR_NONCE": nonce},
            stdout=subprocess.PIPE,
            timeout=PATIENCE.total_seconds(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadInput(where, command, f"it printed no token within {PATIENCE}") from None
    except (OSError, ValueError) as error:
        raise BadInput(where, command, f"it cannot be run: {error}") from error
    if done.returncode:
        raise BadInput(where, command, f"it failed with status {done.returncode}")
    token = done.stdout.decode("ascii", "replace").strip()
    try:
        load(token)
    except ValueError as error:
        raise BadInput(where, command, f"expected it to print an ID token, but {error}") from error
    return token


async def _document(session: aiohttp.ClientSession, url: str, issuer: Issuer) -> dict[str, Any]:
    """Get a JSON object over https, or over http from this machine if the issuer is on it too."""
    _check_address(url, issuer)
    try:
        async with session.get(url, proxy=proxy(url), allow_redirects=False) as answer:
            if answer.status >= 500 or answer.status == 429:
                raise Unreachable(f"{url}: HTTP {answer.status}")
            if answer.status != 200:
                raise ValueError(f"{url} answers HTTP {answer.status}, and is not followed")
            body = await read(answer, LARGEST_DOCUMENT)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unreachable(f"{url}: {str(error) or type(error).__name__}") from error
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{url} holds no JSON object of at most {LARGEST_DOCUMENT} bytes")
    return found


def _check_address(url: str, issuer: Issuer) -> None:
    try:
        parts, home = urlsplit(url), urlsplit(issuer.issuer)
        local = is_loopback(parts.hostname) and is_loopback(home.hostname)
    except ValueError as error:
        raise ValueError(f"{issuer.issuer} gives an address that cannot be read") from error
    if parts.username or parts.password or parts.fragment:
        raise ValueError(f"{issuer.issuer} gives an address with a login or a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError(f"{issuer.issuer} gives an address that is not https")


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, separators=(",", ":"))
