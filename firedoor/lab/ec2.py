"""EC2: what containment leans on and moto has differently from AWS.

AWS, and in brackets moto:

- A NACL has default deny rules, 32767 and with IPv6 32768 (only the default NACL, without IPv6).
- It takes 20 rules a direction and address family, the default one included (no limit).
- Rule numbers and CIDR blocks are checked, blocks are made canonical (taken as they are).
- A missing entry, association or NACL is an error that says so (HTTP 500, or the wrong error).
- A network interface has its own security groups (and those of its instance).
- An instance's groups are those of its primary interface (a list of its own).
- ModifyInstanceAttribute(Groups) wants an instance with one interface (takes any).
- Every operation honours DryRun (some do).
- CopySnapshot(Encrypted) encrypts (does not).
- DescribeInstances filters by iam-instance-profile.arn (HTTP 500).
- An interface says which public address belongs to which private one (only which it has).
- ModifyNetworkInterfaceAttribute sets idle timeouts, on Nitro types, and lends or takes back a
  public address (neither).
- ModifyInstanceMetadataOptions leaves alone what is not named, takes no further options while the
  service is off, and answers `pending` (forgets them, takes all, answers `applied`).
- ModifyInstanceAttribute sets the shutdown behaviour (takes all security groups off), and refuses
  protection for Spot instances (takes it).

Addresses that AWS would assign are documentation addresses, so that nothing names a real host.
"""

import secrets
from copy import copy
from ipaddress import ip_network
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2 import utils
from moto.ec2.exceptions import DryRunClientError, EC2ClientError, InvalidNetworkAclIdError
from moto.ec2.models import elastic_network_interfaces, vpcs
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.models.network_acls import NetworkAcl, NetworkAclBackend, NetworkAclEntry
from moto.ec2.models.security_groups import SecurityGroup
from moto.ec2.models.vpcs import VPC
from moto.ec2.responses import EC2Response

from firedoor.lab import patch
from firedoor.lab.quotas import RULES_PER_NACL, quota

_DEFAULT_RULE, _DEFAULT_RULE_V6 = 32767, 32768


def install() -> None:
    """Set moto's EC2 right."""
    patch.around(EC2Response, "call_action", _dry_run)
    patch.around(EC2Response, "copy_snapshot", _encrypted)
    patch.around(NetworkAclBackend, "create_network_acl", _with_default_rules)
    patch.around(NetworkAclBackend, "create_network_acl_entry", _checked)
    patch.around(NetworkAclBackend, "replace_network_acl_entry", _replaced)
    patch.around(NetworkAclBackend, "delete_network_acl_entry", _deleted)
    patch.around(NetworkAclBackend, "replace_network_acl_association", _associated)
    patch.around(NetworkAclBackend, "describe_network_acls", _described)
    patch.around(VPC, "associate_vpc_cidr_block", _with_ipv6_rules)
    patch.around(InstanceBackend, "modify_instance_security_groups", _on_its_interface)
    patch.around(EC2Response, "modify_network_interface_attribute", _interface_attribute)
    patch.around(EC2Response, "modify_instance_attribute", _instance_attribute)
    patch.around(EC2Response, "modify_instance_metadata_options", _metadata_options)
    NetworkInterface.connection_tracking_configuration = None  # type: ignore[attr-defined]
    NetworkInterface.network_interface_private_ip_address_list = property(  # type: ignore[attr-defined]
        _private_addresses
    )
    patch.replace(NetworkInterface, "group_set", property(lambda self: self._group_set))
    Instance.security_groups = property(_instance_groups, _set_instance_groups)  # type: ignore[assignment]
    utils.filter_dict_attribute_mapping["iam-instance-profile.arn"] = "iam_instance_profile.Arn"
    patch.replace(vpcs, "random_ipv6_cidr", _ipv6_network)
    patch.replace(elastic_network_interfaces, "random_public_ip", _public_address)


def _dry_run(call_action: Any, self: EC2Response) -> Any:
    # Permissions are checked before this: see `refusal` in iam.py.
    if self.querystring.get("DryRun") == ["true"]:
        return self.serialized(ActionResult(DryRunClientError()))
    return call_action(self)


def _encrypted(copy_snapshot: Any, self: EC2Response) -> Any:
    answer = copy_snapshot(self)
    snapshot = self.ec2_backend.get_snapshot(answer.result["SnapshotId"])
    snapshot.encrypted = snapshot.encrypted or bool(self._get_param("Encrypted"))
    return answer


def _with_default_rules(create: Any, backend: Any, *args: Any, **kwargs: Any) -> NetworkAcl:
    acl: NetworkAcl = create(backend, *args, **kwargs)
    if not acl.default:
        for egress in (False, True):
            _append(acl, _DEFAULT_RULE, "deny", egress, cidr_block="0.0.0.0/0")
    if backend.vpcs[acl.vpc_id].get_cidr_block_association_set(ipv6=True):
        _add_ipv6_rules(acl)
    return acl


def _with_ipv6_rules(associate: Any, vpc: VPC, cidr_block: str, *args: Any, **kwargs: Any) -> Any:
    association = associate(vpc, cidr_block, *args, **kwargs)
    if ":" in association["cidr_block"]:
        for acl in vpc.ec2_backend.network_acls.values():
            if acl.vpc_id == vpc.id:
                _add_ipv6_rules(acl)
    return association


def _add_ipv6_rules(acl: NetworkAcl) -> None:
    for egress in (False, True):
        if not any(
            e.rule_number == _DEFAULT_RULE_V6 and e.egress == egress
            for e in acl.network_acl_entries
        ):
            if acl.default:
                _append(acl, 101, "allow", egress, ipv6_cidr_block="::/0")
            _append(acl, _DEFAULT_RULE_V6, "deny", egress, ipv6_cidr_block="::/0")


def _append(acl: NetworkAcl, number: int, action: str, egress: bool, **block: str) -> None:
    entry = NetworkAclEntry(
        acl.ec2_backend,
        acl.id,
        number,
        "-1",
        action,
        egress,
        block.get("cidr_block"),  # type: ignore[arg-type]
        None,
        None,
        None,
        None,
        block.get("ipv6_cidr_block"),
    )
    acl.network_acl_entries.append(entry)


def _checked(create: Any, backend: Any, network_acl_id: str, **entry: Any) -> NetworkAclEntry:
    acl = backend.get_network_acl(network_acl_id)
    if entry["rule_number"] == _DEFAULT_RULE:  # moto's own, of a default NACL
        return create(backend, network_acl_id=network_acl_id, **entry)  # type: ignore[no-any-return]
    entry = _canonical(entry)
    family = "ipv6_cidr_block" if entry["ipv6_cidr_block"] else "cidr_block"
    used = [
        e for e in acl.network_acl_entries if e.egress == entry["egress"] and getattr(e, family)
    ]
    taken = any(e.rule_number == entry["rule_number"] for e in used)
    if len(used) >= quota("vpc", RULES_PER_NACL) and not taken:
        raise EC2ClientError(
            "NetworkAclEntryLimitExceeded",
            f"The limit on number of rules in network acl {network_acl_id} is reached.",
        )
    return create(backend, network_acl_id=network_acl_id, **entry)  # type: ignore[no-any-return]


def _replaced(replace: Any, backend: Any, network_acl_id: str, **entry: Any) -> NetworkAclEntry:
    _existing(backend, network_acl_id, entry["rule_number"], entry["egress"])
    # moto deletes the former entry before it looks at the new one.
    return replace(backend, network_acl_id=network_acl_id, **_canonical(entry))  # type: ignore[no-any-return]


def _deleted(delete: Any, backend: Any, network_acl_id: str, rule_number: int, egress: bool) -> Any:
    _existing(backend, network_acl_id, rule_number, egress)
    return delete(backend, network_acl_id, rule_number, egress)


def _existing(backend: Any, network_acl_id: str, rule_number: int, egress: bool) -> None:
    _in_range(rule_number)
    entries = backend.get_network_acl(network_acl_id).network_acl_entries
    if not any(e.rule_number == rule_number and e.egress == egress for e in entries):
        direction = "egress" if egress else "ingress"
        raise EC2ClientError(
            "InvalidNetworkAclEntry.NotFound",
            f"The specified {direction} entry (rule number {rule_number}) does not exist.",
        )


def _canonical(entry: dict[str, Any]) -> dict[str, Any]:
    _in_range(entry["rule_number"])
    if not (entry["cidr_block"] or entry["ipv6_cidr_block"]):
        raise EC2ClientError(
            "MissingParameter", "The request must contain the parameter CidrBlock."
        )
    blocks = {}
    for family, version in (("cidr_block", 4), ("ipv6_cidr_block", 6)):
        if text := entry[family]:
            try:
                network = ip_network(text, strict=False)
            except ValueError:
                network = None
            if network is None or network.version != version or "/" not in text:
                raise EC2ClientError("InvalidParameterValue", f"CIDR block {text} is malformed")
            blocks[family] = str(network)
    return {**entry, **blocks}


def _in_range(rule_number: int) -> None:
    if not 1 <= rule_number < _DEFAULT_RULE:
        raise EC2ClientError(
            "InvalidParameterValue", f"Value ({rule_number}) for parameter ruleNumber is invalid."
        )


def _associated(replace: Any, backend: Any, association_id: str, network_acl_id: str) -> Any:
    backend.get_network_acl(network_acl_id)
    if not any(association_id in acl._associations for acl in backend.network_acls.values()):
        raise EC2ClientError(
            "InvalidAssociationID.NotFound",
            f"The association ID '{association_id}' does not exist",
        )
    return replace(backend, association_id, network_acl_id)


def _described(
    describe: Any, backend: Any, network_acl_ids: list[str] | None = None, filters: Any = None
) -> Any:
    for network_acl_id in network_acl_ids or []:
        if network_acl_id not in backend.network_acls:
            raise InvalidNetworkAclIdError(network_acl_id)
    return describe(backend, network_acl_ids, filters)


def _on_its_interface(
    modify: Any, backend: Any, instance_id: str, group_ids: list[str]
) -> Instance:
    instance = backend.get_instance(instance_id)
    if len(instance.nics) > 1:
        raise EC2ClientError(
            "InvalidInstanceID",
            f"There are multiple interfaces attached to instance '{instance_id}'. "
            "Please specify an interface ID for the operation instead.",
        )
    return modify(backend, instance_id, group_ids)  # type: ignore[no-any-return]


def _instance_groups(instance: Any) -> list[SecurityGroup]:
    primary = getattr(instance, "nics", {}).get(0)
    groups: list[SecurityGroup] = primary._group_set if primary else instance._launch_groups
    return groups


def _set_instance_groups(instance: Any, groups: list[SecurityGroup]) -> None:
    if primary := getattr(instance, "nics", {}).get(0):
        primary._group_set = groups
    else:
        instance._launch_groups = groups


def _private_addresses(interface: Any) -> list[dict[str, Any]]:
    addresses: list[dict[str, Any]] = interface.instance_private_ip_address_list
    return addresses


_TIMEOUTS = {
    "TcpEstablishedTimeout": (60, 432_000),
    "UdpStreamTimeout": (60, 180),
    "UdpTimeout": (30, 60),
}


def _interface_attribute(modify: Any, self: EC2Response) -> Any:
    interface = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    timeouts = self._get_param("ConnectionTrackingSpecification")
    lends = self._get_param("AssociatePublicIpAddress")
    if timeouts:
        _set_timeouts(interface, {name: int(value) for name, value in timeouts.items()})
    if lends is not None:
        _lend(interface, str(lends).lower() == "true")
    return modify(self)


def _set_timeouts(interface: Any, timeouts: dict[str, int]) -> None:
    for name, value in timeouts.items():
        least, most = _TIMEOUTS[name]
        if not least <= value <= most:
            raise EC2ClientError("InvalidParameterValue", f"{name} {value} is out of range")
    backend, instance = interface.ec2_backend, interface.instance
    if instance is not None:
        (kind,) = backend.describe_instance_types([instance.instance_type])
        if kind.get("Hypervisor") != "nitro" and not kind.get("BareMetal"):
            raise EC2ClientError(
                "UnsupportedOperation",
                f"Connection tracking timeouts are not supported on {instance.instance_type}.",
            )
    known = interface.connection_tracking_configuration or {}
    interface.connection_tracking_configuration = {**known, **timeouts}


def _lend(interface: Any, lends: bool) -> None:
    interface.public_ip_auto_assign = lends
    elastic = interface.ec2_backend.address_by_ip([interface.public_ip], fail_if_not_found=False)
    if not elastic:
        interface.public_ip = None
        interface.check_auto_public_ip()


def _instance_attribute(modify: Any, self: EC2Response) -> Any:
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    guards = ("DisableApiTermination", "DisableApiStop")
    if instance.lifecycle == "spot" and any(
        str(self._get_param(f"{name}.Value")).lower() == "true" for name in guards
    ):
        raise EC2ClientError(
            "UnsupportedOperation", "Spot instances cannot be protected from termination or stop."
        )
    behaviour = self._get_param("InstanceInitiatedShutdownBehavior.Value")
    if behaviour is None:
        return modify(self)
    if behaviour not in ("stop", "terminate"):
        raise EC2ClientError("InvalidParameterValue", f"Value ({behaviour}) is invalid.")
    instance.instance_initiated_shutdown_behavior = behaviour
    return EmptyResult()


_METADATA = {
    "HttpTokens": "http_tokens",
    "HttpPutResponseHopLimit": "http_put_response_hop_limit",
    "HttpProtocolIpv6": "http_protocol_ipv6",
    "InstanceMetadataTags": "instance_metadata_tags",
}


def _metadata_options(modify: Any, self: EC2Response) -> Any:
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    options = instance.metadata_options
    before = {attribute: getattr(options, attribute) for attribute in _METADATA.values()}
    named = {name: v for name in _METADATA if (v := self._get_param(name)) is not None}
    endpoint = self._get_param("HttpEndpoint") or options.http_endpoint
    if endpoint == "disabled" and named:
        raise EC2ClientError(
            "InvalidParameterCombination",
            f"{', '.join(named)} cannot be set while the metadata endpoint is disabled.",
        )
    answer = modify(self)
    options = instance.metadata_options
    options.http_endpoint = endpoint
    for name, attribute in _METADATA.items():
        if name not in named:
            setattr(options, attribute, before[attribute])
    answer.result["InstanceMetadataOptions"] = pending = copy(options)
    pending.state = "pending"
    return answer


def _public_address() -> str:
    return f"203.0.113.{secrets.randbelow(254) + 1}"


def _ipv6_network() -> str:
    return f"2001:db8:{secrets.randbelow(1 << 16):x}::/56"
