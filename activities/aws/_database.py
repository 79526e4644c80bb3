"""What quarantining a database reads: an RDS instance, or a cluster with its members."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from activities.aws import _groups, _identity, _metrics, _network, _quarantine
from activities.aws._network import Remarks
from activities.aws._reading import counted, named, or_none
from activities.aws._reading import tags as tags_of
from activities.aws._window import Window, silent, stamp, unproven
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.plan import Check

GROUPS, PUBLIC = "security groups", "public access"
PROTECTION, DATA_API = "deletion protection", "Data API"

INSTANCE, CLUSTER = "instance", "cluster"

STEADY = "available"

# What RDS takes no change of, for as long as it is so.
AT_REST = {
    "stopped": "it is stopped, so nobody reaches it; RDS starts it by itself after seven days at"
    " most: quarantine it then",
    "stopping": "it is being stopped: quarantine it when it runs again",
    "deleting": "it is being deleted: keep its final snapshot and its automated backups",
}

LOOK_BACK = timedelta(minutes=10)
"""How far back connections are looked for; RDS counts them each minute."""

HOW_TO_END = {
    "mysql": "CALL mysql.rds_kill",
    "mariadb": "CALL mysql.rds_kill",
    "postgres": "pg_terminate_backend",
    "oracle": "rdsadmin.rdsadmin_util.kill",
    "sqlserver": "KILL",
}
"""By the beginning of an engine's name, what ends a session from within."""


@dataclass(frozen=True)
class Sight:
    """A database as it is now."""

    kind: str
    id: str
    described: Mapping[str, Any]
    members: list[dict[str, Any]]
    vpc: str
    groups: Mapping[str, dict[str, Any]]  # the quarantine group, by VPC
    version: str | None = None  # of the managed master secret
    state: State = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What changes and leases call it."""
        return f"{self.kind}/{self.id}"

    @property
    def arn(self) -> str:
        """Its ARN."""
        is_cluster = self.kind == CLUSTER
        return str(self.described["DBClusterArn" if is_cluster else "DBInstanceArn"])

    @property
    def resource(self) -> str:
        """The id that it keeps when it is renamed."""
        is_cluster = self.kind == CLUSTER
        return str(self.described["DbClusterResourceId" if is_cluster else "DbiResourceId"])

    @property
    def status(self) -> str:
        """What RDS says it is doing."""
        return str(self.described["Status" if self.kind == CLUSTER else "DBInstanceStatus"])

    @property
    def modifying(self) -> list[str]:
        """The instances that are being changed, and may show how they were before."""
        busy = [one for one in self.members if one["DBInstanceStatus"] == "modifying"]
        return [f"{INSTANCE}/{one['DBInstanceIdentifier']}" for one in busy]

    @property
    def engine(self) -> str:
        """The engine, as aurora-postgresql."""
        return str(self.described.get("Engine", ""))

    @property
    def secret(self) -> Mapping[str, Any]:
        """The master secret that RDS manages; empty if it manages none."""
        found: Mapping[str, Any] = self.described.get("MasterUserSecret") or {}
        return found

    @property
    def instances(self) -> list[str]:
        """The ids of all instances that it consists of."""
        return [member["DBInstanceIdentifier"] for member in self.members]

    @property
    def group_ids(self) -> list[str]:
        """The ids of its security groups as RDS lists them, but for those being removed."""
        told = self.described.get("VpcSecurityGroups") or ()
        return [str(g["VpcSecurityGroupId"]) for g in told if g.get("Status") != "removing"]

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return tags_of({"Tags": self.described.get("TagList")})


def find(aws: Aws, id: str) -> tuple[str, str] | None:
    """Return of what kind a database is, and its id; what is in a cluster is contained as such.

    Members of a cluster share its groups, its secret and its snapshot. `id` is an identifier, or
    the ARN of an instance, of a cluster or of a shard group.
    """
    kind, name = id.split(":", 6)[5:] if id.startswith("arn:") else ("", id)
    if kind == "shard-group":
        groups = aws.pages("rds", "DescribeDBShardGroups", "DBShardGroups")
        found = (g["DBClusterIdentifier"] for g in groups if g.get("DBShardGroupArn") == id)
        owner = next(found, None)
        return (CLUSTER, str(owner)) if owner else None
    instance = None if kind == CLUSTER else _instance(aws, name)
    if instance is not None:
        cluster = instance.get("DBClusterIdentifier")
        return (CLUSTER, str(cluster)) if cluster else (INSTANCE, name)
    return (CLUSTER, name) if kind != "db" and _cluster(aws, name) is not None else None


def look(aws: Aws, kind: str, id: str) -> Sight | None:
    """Read a database and what its quarantine is about; None if it does not exist."""
    if kind == INSTANCE:
        described = _instance(aws, id)
        members = [described] if described else []
    else:
        described = _cluster(aws, id)
        members = _members(aws, id) if described else []
    if described is None:
        return None
    reads = (
        partial(_vpc, aws, described),
        partial(_groups.named, aws, [_quarantine.NAME]),
        partial(_version, aws, described),
    )
    found: list[Any] = aws.together(*reads)
    vpc, groups, version = found
    ours = {group["VpcId"]: group for group in groups if group["VpcId"] == vpc}
    sight = Sight(kind, id, described, members, vpc, ours, version)
    return Sight(kind, id, described, members, vpc, ours, version, _state(sight))


def renamed(aws: Aws, kind: str, resource: str) -> str:
    """Return what a database is called by now, by the id that it keeps; nothing if it is gone."""
    what, key = ("DBInstance", "dbi-resource-id")
    if kind == CLUSTER:
        what, key = ("DBCluster", "db-cluster-resource-id")
    wanted = [{"Name": key, "Values": [resource]}]
    found = aws.pages("rds", f"Describe{what}s", f"{what}s", Filters=wanted)
    return str(found[0][f"{what}Identifier"]) if found else ""


def is_aurora(sight: Sight) -> bool:
    """Tell whether the members of a cluster are set up one by one, each with its own address."""
    return sight.engine.startswith("aurora")


def snapshot(aws: Aws, sight: Sight, name: str) -> Mapping[str, Any] | None:
    """Read a snapshot of a database by name; None if there is none."""
    read = aws.client("rds")
    if sight.kind == CLUSTER:
        described = partial(read.describe_db_cluster_snapshots, DBClusterSnapshotIdentifier=name)
        key = "DBClusterSnapshots"
    else:
        described = partial(read.describe_db_snapshots, DBSnapshotIdentifier=name)
        key = "DBSnapshots"
    found = or_none(described)
    return next(iter(found[key]), None) if found else None


def how_to_end(sight: Sight) -> str:
    """Return what ends a session from within the engine of a database."""
    engine = sight.engine.replace("aurora-", "")
    found = (how for name, how in HOW_TO_END.items() if engine.startswith(name))
    return next(found, "its own command for that")


# Who uses it


def doors(aws: Aws, sight: Sight, at: datetime) -> Remarks:
    """Look who is connected, and which other ways lead to the data."""
    seen = _network.together(
        aws,
        partial(_network.tried, f"connections of {sight.id}", partial(_used, aws, sight, at)),
        partial(_network.tried, f"proxies of {sight.id}", partial(_proxies, aws, sight)),
        partial(_network.tried, f"key of {sight.id}", partial(_key, aws, sight)),
    )
    return Remarks((*seen.blast_radius, *_copies(sight)), seen.preflight)


def connections(aws: Aws, instance: str, now: datetime) -> Window:
    """Tell from the count of connections whether a session that was open lives on.

    Groups do not end what is connected. The count leaves out RDS's own sessions.
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-metrics.html
    """
    name = f"open sessions of {instance}"
    try:
        found = _connections(aws, instance, now)
    except CloudError as error:
        return unproven(name, str(error))
    if not found:
        minutes = int(LOOK_BACK.total_seconds() // 60)
        return unproven(name, f"CloudWatch has no count of the last {minutes} minutes")
    last, number = found[-1]
    if number:
        told = f"{counted(int(number), 'connection')} at {stamp(last)}: restart it to end them"
        return unproven(name, told)
    busy = [at for at, value in found if value]
    since = min(at for at, _ in found if not busy or at > busy[-1])
    return silent(name, f"no connection since {stamp(since)}", since)


def _instance(aws: Aws, id: str) -> dict[str, Any] | None:
    read = partial(aws.client("rds").describe_db_instances, DBInstanceIdentifier=id)
    found = or_none(read)
    return next(iter(found["DBInstances"]), None) if found else None


def _cluster(aws: Aws, id: str) -> dict[str, Any] | None:
    read = partial(aws.client("rds").describe_db_clusters, DBClusterIdentifier=id)
    found = or_none(read)
    return next(iter(found["DBClusters"]), None) if found else None


def _members(aws: Aws, cluster: str) -> list[dict[str, Any]]:
    wanted = [{"Name": "db-cluster-id", "Values": [cluster]}]
    found = aws.pages("rds", "DescribeDBInstances", "DBInstances", Filters=wanted)
    return sorted(found, key=lambda member: str(member["DBInstanceIdentifier"]))


def _vpc(aws: Aws, described: Mapping[str, Any]) -> str:
    subnets = described.get("DBSubnetGroup") or {}
    if isinstance(subnets, str):  # a cluster only names them
        read = aws.client("rds").describe_db_subnet_groups
        (subnets,) = read(DBSubnetGroupName=subnets)["DBSubnetGroups"]
    if vpc := subnets.get("VpcId"):
        return str(vpc)
    own = [group["VpcSecurityGroupId"] for group in described.get("VpcSecurityGroups", ())]
    found = _network.by_filter(aws, "DescribeSecurityGroups", "group-id", own) if own else []
    return str(found[0]["VpcId"]) if found else ""


def _version(aws: Aws, described: Mapping[str, Any]) -> str | None:
    arn = (described.get("MasterUserSecret") or {}).get("SecretArn")
    if not arn:
        return None
    read = aws.client("secretsmanager").describe_secret
    secret = _identity.if_allowed(partial(read, SecretId=arn)) or {}
    versions = secret.get("VersionIdsToStages", {})
    return next((str(id) for id, stages in versions.items() if "AWSCURRENT" in stages), None)


def _state(sight: Sight) -> State:
    ours = sight.groups.get(sight.vpc, {}).get("GroupId")
    own = sight.group_ids
    state: dict[tuple[str, str], Any] = {
        (sight.label, GROUPS): sorted(_quarantine.NAME if id == ours else id for id in own),
        (sight.label, PROTECTION): bool(sight.described.get("DeletionProtection")),
    }
    if sight.kind == CLUSTER:
        state[sight.label, DATA_API] = bool(sight.described.get("HttpEndpointEnabled"))
    if sight.kind == INSTANCE or is_aurora(sight):
        for member in sight.members:
            label = f"{INSTANCE}/{member['DBInstanceIdentifier']}"
            state[label, PUBLIC] = bool(member.get("PubliclyAccessible"))
    return state


def _connections(aws: Aws, instance: str, now: datetime) -> list[tuple[datetime, float]]:
    return _metrics.points(
        aws,
        "AWS/RDS DatabaseConnections",
        {"DBInstanceIdentifier": instance},
        now - LOOK_BACK,
        now,
        statistic="Maximum",
    )


def _used(aws: Aws, sight: Sight, at: datetime) -> Remarks:
    reads = (partial(_connections, aws, instance, at) for instance in sight.instances)
    counts = zip(sight.instances, aws.together(*reads), strict=True)
    return Remarks(
        tuple(
            f"{instance} has {counted(int(found[-1][1]), 'connection')}: open ones go on, and no"
            " new one begins"
            if found
            else f"how many are connected to {instance} is not known: CloudWatch has no count"
            for instance, found in counts
        )
    )


def _proxies(aws: Aws, sight: Sight) -> Remarks:
    names = [p["DBProxyName"] for p in aws.pages("rds", "DescribeDBProxies", "DBProxies")]
    reads = (
        partial(aws.pages, "rds", "DescribeDBProxyTargets", "Targets", DBProxyName=name)
        for name in names
    )
    own = {sight.id, *sight.instances}
    before = [
        name
        for name, targets in zip(names, aws.together(*reads), strict=True)
        if any(own & {t.get("RdsResourceId"), t.get("TrackedClusterId")} for t in targets)
    ]
    if not before:
        return Remarks()
    told = f"RDS Proxy in front of {sight.id} ({len(before)}: {named(before)})"
    return Remarks((f"{told} keeps its open connections, for whoever reaches it",))


def _key(aws: Aws, sight: Sight) -> Remarks:
    """Look whether a snapshot can be shared: under the key that AWS keeps for RDS it cannot."""
    if not (key := sight.described.get("KmsKeyId")):
        return Remarks()
    manager = aws.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyManager"]
    told = "it is under the key of AWS for RDS: copy it under one of yours first (CopyDBSnapshot)"
    if manager != "AWS":
        return Remarks()
    return Remarks(preflight=(Check(name="snapshot can be shared", ok=False, detail=told),))


def _copies(sight: Sight) -> tuple[str, ...]:
    described = sight.described
    replicas = [
        *described.get("ReadReplicaDBInstanceIdentifiers", ()),
        *described.get("ReadReplicaDBClusterIdentifiers", ()),
        *described.get("ReadReplicaIdentifiers", ()),
    ]
    lines = []
    if replicas:
        lines.append(
            f"still answering under groups of their own: {counted(len(replicas), 'replica')},"
            f" {named(replicas)}: quarantine them too"
        )
    if source := described.get("ReadReplicaSourceDBInstanceIdentifier"):
        lines.append(f"{sight.id} is a replica of {source}, which keeps answering")
    if described.get("GlobalClusterIdentifier"):
        lines.append(
            f"it is in global cluster {described['GlobalClusterIdentifier']}: so are others"
        )
    if described.get("MultiAZ"):
        lines.append("its standby in another zone comes along")
    if described.get("IAMDatabaseAuthenticationEnabled"):
        lines.append("sign-in by IAM is on: tokens of 15 minutes, useless without a connection")
    return tuple(lines)
