"""What must never be touched, and who may decide; pinned into each incident."""

from ipaddress import IPv4Network, IPv6Network

from pydantic import Field

from firedoor.model.base import Model, digest


class Protected(Model):
    """What no plan may lay hands on."""

    tags: dict[str, str] = Field(
        default={"firedoor:protected": "*"}, description="tag to value; * stands for any value"
    )
    resources: tuple[str, ...] = Field(default=(), description="ids; * stands for any characters")
    principals: tuple[str, ...] = Field(default=(), description="ARNs; * stands for any characters")
    accounts: tuple[str, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="never blocked, beside private, reserved and catch-all networks"
    )


class Policy(Model):
    """The guard rails and the responders of one day."""

    responders: tuple[str, ...] = Field(default=(), description="names of those who may decide")
    protected: Protected = Protected()

    @property
    def digest(self) -> str:
        """The name by which a history refers to this exact policy."""
        return digest(self)
