"""Who may decide, and by what an incident knows that it is they; pinned into each incident."""

import base64
import hashlib
from typing import Annotated

from pydantic import Field, StringConstraints

from firedoor.model.base import Model, UtcDatetime

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

HARDWARE = "sk-"
"""How the types of keys begin that never leave a security key, and want a touch to sign."""


class Key(Model):
    """An SSH key, as `allowed_signers` has it."""

    public: str = Field(description="type and base64, as in a .pub file, without the comment")
    valid_after: UtcDatetime | None = None
    valid_before: UtcDatetime | None = None

    @property
    def fingerprint(self) -> str:
        """The key's name, as `ssh-keygen -l` writes it: SHA256 and base64."""
        blob = base64.b64decode(self.public.split()[1])
        return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"

    @property
    def is_hardware(self) -> bool:
        """Whether the private half is in a security key."""
        return self.public.startswith(HARDWARE)


class Subject(Model):
    """Who somebody is to an identity provider: the token's `iss` and `sub`."""

    issuer: Text
    subject: Text


class Person(Model):
    """A responder, as `responders.yaml` has them."""

    groups: tuple[Text, ...] = ()
    email: Text | None = Field(default=None, description="where mail goes")
    slack: Text | None = Field(default=None, description="member id, as in U012AB3CD")
    teams: Text | None = Field(default=None, description="object id in Entra")
    arns: tuple[Text, ...] = Field(
        default=(), description="ARNs that AWS STS knows them by; * stands for any characters"
    )
    oidc: tuple[Subject, ...] = ()


class Responder(Person):
    """A responder with their keys."""

    keys: tuple[Key, ...] = ()


class Issuer(Model):
    """An identity provider whose tokens count, if a rule accepts them."""

    issuer: Text = Field(description="its URL, as in the tokens' `iss`")
    audience: Text = Field(description="the tokens' `aud`")


class Gateway(Model):
    """What brings the word of people in chat; it signs that it was they."""

    keys: tuple[Key, ...] = ()


class Roster(Model):
    """All who may decide, by name; `responders.yaml` and `allowed_signers` as one value."""

    people: dict[Text, Responder] = Field(default_factory=dict)
    gateways: dict[Text, Gateway] = Field(default_factory=dict)
    issuers: tuple[Issuer, ...] = ()
    on_call: tuple[Text, ...] = Field(default=(), description="who is on call, by name")

    def members(self, groups: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of those in any of the groups; without groups, of everybody."""
        wanted = set(groups)
        return tuple(
            name for name, one in self.people.items() if not wanted or wanted & set(one.groups)
        )
