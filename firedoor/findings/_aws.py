"""How resources and principals of AWS become subjects."""

from dataclasses import dataclass

from firedoor.model.finding import Cloud, Kind, Principal, PrincipalType, Resource

Subject = Resource | Principal

# By what CloudTrail, and GuardDuty after it, calls the type of an identity.
PRINCIPALS = {
    "AWSAccount": PrincipalType.ACCOUNT,
    "AWSService": PrincipalType.SERVICE,
    "AssumedRole": PrincipalType.ROLE,
    "FederatedUser": PrincipalType.FEDERATED,
    "IAMUser": PrincipalType.USER,
    "Role": PrincipalType.ROLE,
    "Root": PrincipalType.ROOT,
}


@dataclass(frozen=True)
class Place:
    """An account and a region, and what is there."""

    account: str
    region: str

    def resource(self, kind: Kind, name: str) -> Resource:
        """Return a resource by the id that the APIs of its kind take, given that or its ARN."""
        match kind:
            case Kind.WORKLOAD | Kind.DATABASE | Kind.OTHER:
                id_ = name  # an ARN stays whole: its last part would not be unique
            case Kind.BUCKET:
                id_ = name.split(":::", 1)[-1].partition("/")[0]
            case _:
                id_ = name.rpartition("/")[2]
        where = {"cloud": Cloud.AWS, "account": self.account, "region": self.region}
        return Resource.model_validate(where | {"kind": kind, "id": id_})

    def principal(self, identity: str, name: str) -> Principal:
        """Return a principal of the account, given the type of its identity and its name."""
        kind = PRINCIPALS.get(identity, PrincipalType.UNKNOWN)
        if kind is PrincipalType.ROOT:
            name = "root"  # an account has one, whatever it is called
        return Principal(
            cloud=Cloud.AWS, account=self.account, id=f"{kind}/{name}", type=kind, name=name
        )
