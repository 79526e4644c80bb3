"""What asking an issuer or AWS over HTTP has in common: little time, little room, no way round."""

from ipaddress import ip_address

import aiohttp

TIMEOUT = aiohttp.ClientTimeout(total=10)


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine, where plain http can be heard by nobody else."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


async def read(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """Return an answer's body, or nothing if it is longer than so many bytes."""
    body = b""
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most:
            return b""
    return body
