"""What asking an issuer or AWS over HTTP has in common: little time, little room, no way round."""

from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

TIMEOUT = aiohttp.ClientTimeout(total=10)


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine, where plain http can be heard by nobody else."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def proxy(url: str) -> str | None:
    """Return the proxy that the environment names for an address.

    aiohttp could look itself, but would look for logins in ~/.netrc too, and send them along.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    return None if is_loopback(host) or proxy_bypass(host) else getproxies().get(parts.scheme)


async def read(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """Return an answer's body, or nothing if it is longer than so many bytes."""
    body = b""
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most:
            return b""
    return body
