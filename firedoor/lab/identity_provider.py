"""An identity provider on this machine, for proofs by ID token."""

import json
import time
from types import TracebackType
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from firedoor.approvals.identity_provider import DISCOVERY
from firedoor.model.responder import Issuer
from firedoor.model.word import OidcToken

HOST = "127.0.0.1"
AUDIENCE = "firedoor"
KEY_ID = "1"


class IdentityProvider:
    """Serves its discovery document and its key for as long as a block lasts, and issues tokens."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        app = web.Application()
        app.router.add_get(DISCOVERY, self._discovery)
        app.router.add_get("/keys", self._keys)
        self._runner = web.AppRunner(app)

    @property
    def issuer(self) -> Issuer:
        """Return how a roster names it."""
        return Issuer(issuer=f"http://{HOST}:{self._runner.addresses[0][1]}", audience=AUDIENCE)

    def token(self, nonce: str, **claims: Any) -> OidcToken:
        """Return a token for a nonce that is good for a minute; any claim can be set."""
        now = time.time()
        usual = {
            "iss": self.issuer.issuer,
            "aud": AUDIENCE,
            "sub": "alice",
            "nonce": nonce,
            "iat": now,
            "exp": now + 60,
        }
        signed = jwt.encode(usual | claims, self._key, "ES256", {"kid": KEY_ID})
        return OidcToken(token=signed)

    async def __aenter__(self) -> Self:
        """Listen on a free port of the loopback interface."""
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Listen no more."""
        await self._runner.cleanup()

    async def _discovery(self, request: web.Request) -> web.Response:  # noqa: ARG002
        home = self.issuer.issuer
        return web.json_response({"issuer": home, "jwks_uri": f"{home}/keys"})

    async def _keys(self, request: web.Request) -> web.Response:  # noqa: ARG002
        public = json.loads(ECAlgorithm.to_jwk(self._key.public_key()))
        return web.json_response({"keys": [{**public, "kid": KEY_ID}]})
