"""ID tokens of an identity provider as proof of whose a word is: their nonce is the word's digest.

Pure: workflows check tokens with it, and every replay checks them again.

OpenID Connect Core 1.0, section 3.1.3.7, and Discovery 1.0, section 4:
https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation
"""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from jwt import PyJWK, PyJWS, PyJWTError

from firedoor.model.responder import Issuer

ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""What is taken, with the type and curve of its keys. Nothing that a shared secret could make."""

LEAST_RSA_BITS = 2048
LEEWAY = timedelta(seconds=60)  # for clocks that differ

LONGEST_TOKEN = 16_384  # characters
LONGEST_SUBJECT = 255  # characters, as the standard says


def verify(token: str, jwk: str, issuer: Issuer, nonce: str, now: datetime) -> str:
    """Return the `sub` of an ID token that the provider's key has signed for this nonce.

    Pure: it neither looks at the clock nor asks anybody, so that every replay can check again.
    Raises `ValueError` with the reason.
    """
    claims = _signed(token, jwk)
    if claims.get("iss") != issuer.issuer:
        raise ValueError(f"the token is from another issuer than {issuer.issuer}")
    if claims.get("aud") not in _audiences(issuer):
        raise ValueError(f"the token is not for {issuer.audience} alone")
    if claims.get("nonce") != nonce:
        raise ValueError("the token was issued for another word: its nonce is not this digest")
    _check_times(claims, now)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        raise ValueError("the token names nobody: it has no usable sub")
    return subject


def issuer_of(token: str, issuers: Iterable[Issuer]) -> Issuer:
    """Return which of the issuers a token claims to be from; nothing of it is checked yet.

    Raises `ValueError` if it is none of them.
    """
    claims = _claims(load(token)[1])
    for issuer in issuers:
        if claims.get("iss") == issuer.issuer and claims.get("aud") in _audiences(issuer):
            return issuer
    raise ValueError("the token is from an issuer, or for an audience, that the policy has not")


def load(token: str) -> tuple[dict[str, Any], bytes]:
    """Return a token's header and what it holds, unchecked but for the algorithm."""
    if len(token) > LONGEST_TOKEN:
        raise ValueError("the token is too long")
    try:
        loaded = PyJWS().decode_complete(token, options={"verify_signature": False})
    except (PyJWTError, ValueError) as error:
        raise ValueError("it is no signed JSON web token") from error
    header: dict[str, Any] = loaded["header"]
    if header.get("alg") not in ALGORITHMS:
        raise ValueError(f"the token's algorithm is not one of {', '.join(ALGORITHMS)}")
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise ValueError("the token is no ID token, as its typ says")
    return header, loaded["payload"]


def fits(key: object, header: Mapping[str, Any]) -> bool:
    """Tell whether a key is the one, or one of those, that a header means."""
    if not isinstance(key, dict) or "d" in key or "k" in key:
        return False
    kind, curve = ALGORITHMS[header["alg"]]
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("alg", header["alg"]) == header["alg"]
        and key.get("use", "sig") == "sig"
        and ("kid" not in header or key.get("kid") == header["kid"])
    )


def _signed(token: str, jwk: str) -> dict[str, Any]:
    """Return the claims of a token that a key has signed."""
    header, _ = load(token)
    public = _key(jwk, header["alg"])
    try:
        # Not `jwt.decode`, which would look at the clock.
        payload = PyJWS().decode(token, public, algorithms=[header["alg"]])
    except PyJWTError as error:
        raise ValueError("the token is not signed with the issuer's key") from error
    return _claims(payload)


def _key(jwk: str, algorithm: str) -> PyJWK:
    try:
        key = json.loads(jwk)
        public = PyJWK(key, algorithm) if fits(key, {"alg": algorithm}) else None
    except (PyJWTError, ValueError, RecursionError) as error:
        raise ValueError("the issuer's key cannot be read") from error
    if public is None:
        raise ValueError(f"the issuer's key is not for {algorithm}")
    if key["kty"] == "RSA" and public.key.key_size < LEAST_RSA_BITS:
        raise ValueError(f"the issuer's key has fewer than {LEAST_RSA_BITS} bits")
    return public


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise ValueError("the token holds no claims")
    return claims


def _audiences(issuer: Issuer) -> tuple[str | list[str], ...]:
    """Return both ways to write that a token is for one audience, and for no other."""
    return issuer.audience, [issuer.audience]


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    instant, leeway = now.timestamp(), LEEWAY.total_seconds()
    expires, issued = _instant(claims, "exp"), _instant(claims, "iat")
    if instant >= expires + leeway:
        raise ValueError("the token has expired")
    if issued > instant + leeway:
        raise ValueError("the token was issued in the future")
    if "nbf" in claims and _instant(claims, "nbf") > instant + leeway:
        raise ValueError("the token is not valid yet")


def _instant(claims: Mapping[str, Any], name: str) -> float:
    """Return a claim that is a number of seconds; JSON as Python reads it also knows NaN."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"the token's {name} is missing or no time")
    return value
