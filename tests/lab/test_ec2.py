from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene

Stock = Callable[..., Any]


@pytest.fixture
def ec2(stock: Stock) -> Any:
    return stock("ec2")


def _deny(ec2: Any, acl_id: str, number: int, block: str, *, egress: bool = False) -> None:
    family = "Ipv6CidrBlock" if ":" in block else "CidrBlock"
    ec2.create_network_acl_entry(
        NetworkAclId=acl_id,
        RuleNumber=number,
        Protocol="-1",
        RuleAction="deny",
        Egress=egress,
        **{family: block},
    )


def _entries(ec2: Any, acl_id: str, *, egress: bool = False) -> list[tuple[int, str, str]]:
    (acl,) = ec2.describe_network_acls(NetworkAclIds=[acl_id])["NetworkAcls"]
    return sorted(
        (e["RuleNumber"], e["RuleAction"], e.get("CidrBlock") or e["Ipv6CidrBlock"])
        for e in acl["Entries"]
        if e["Egress"] is egress
    )


def _code(call: Callable[..., Any], *args: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*args, **parameters)
    return str(caught.value.response["Error"]["Code"])


def _groups(ec2: Any, interface_id: str) -> list[str]:
    (interface,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface_id])[
        "NetworkInterfaces"
    ]
    return [g["GroupId"] for g in interface["Groups"]]


def test_nacl_ends_with_a_deny_of_each_family(ec2: Any, scene: Scene) -> None:
    assert _entries(ec2, scene.public_acl_id) == [
        (100, "allow", "0.0.0.0/0"),
        (101, "allow", "::/0"),
        (32767, "deny", "0.0.0.0/0"),
        (32768, "deny", "::/0"),
    ]


def test_ipv6_that_comes_later_brings_its_rules(ec2: Any) -> None:
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    (acl,) = ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])[
        "NetworkAcls"
    ]

    ec2.associate_vpc_cidr_block(VpcId=vpc_id, AmazonProvidedIpv6CidrBlock=True)

    assert _entries(ec2, acl["NetworkAclId"], egress=True) == [
        (100, "allow", "0.0.0.0/0"),
        (101, "allow", "::/0"),
        (32767, "deny", "0.0.0.0/0"),
        (32768, "deny", "::/0"),
    ]


def test_nacl_takes_20_rules_a_direction_and_family(ec2: Any, scene: Scene) -> None:
    acl_id = scene.public_acl_id
    for number in range(1, 19):
        _deny(ec2, acl_id, number, f"192.0.2.{number}/32")

    code = _code(_deny, ec2, acl_id, 19, "192.0.2.19/32")
    _deny(ec2, acl_id, 19, "2001:db8::19/128")
    _deny(ec2, acl_id, 19, "192.0.2.19/32", egress=True)

    assert code == "NetworkAclEntryLimitExceeded"


def test_full_nacl_says_of_a_used_number_that_it_is_used(ec2: Any, scene: Scene) -> None:
    for number in range(1, 19):
        _deny(ec2, scene.public_acl_id, number, f"192.0.2.{number}/32")

    code = _code(_deny, ec2, scene.public_acl_id, 7, "192.0.2.99/32")

    assert code == "NetworkAclEntryAlreadyExists"


def test_full_nacl_still_replaces(ec2: Any, scene: Scene) -> None:
    for number in range(1, 19):
        _deny(ec2, scene.public_acl_id, number, f"192.0.2.{number}/32")

    ec2.replace_network_acl_entry(
        NetworkAclId=scene.public_acl_id,
        RuleNumber=7,
        Protocol="-1",
        RuleAction="deny",
        Egress=False,
        CidrBlock="198.51.100.7/32",
    )

    assert (7, "deny", "198.51.100.7/32") in _entries(ec2, scene.public_acl_id)


def test_block_is_stored_in_canonical_form(ec2: Any, scene: Scene) -> None:
    _deny(ec2, scene.public_acl_id, 10, "198.51.100.7/24")

    assert (10, "deny", "198.51.100.0/24") in _entries(ec2, scene.public_acl_id)


@pytest.mark.parametrize("block", ["198.51.100.7", "198.51.100.300/32", "198.51.100.0/33", "here"])
def test_malformed_block_is_refused(ec2: Any, scene: Scene, block: str) -> None:
    assert _code(_deny, ec2, scene.public_acl_id, 10, block) == "InvalidParameterValue"


@pytest.mark.parametrize("number", [0, 32767, 40000])
def test_rule_number_out_of_range_is_refused(ec2: Any, scene: Scene, number: int) -> None:
    code = _code(
        ec2.delete_network_acl_entry,
        NetworkAclId=scene.public_acl_id,
        RuleNumber=number,
        Egress=False,
    )

    assert code == "InvalidParameterValue"


def test_missing_entry_cannot_be_deleted(ec2: Any, scene: Scene) -> None:
    code = _code(
        ec2.delete_network_acl_entry, NetworkAclId=scene.public_acl_id, RuleNumber=7, Egress=False
    )

    assert code == "InvalidNetworkAclEntry.NotFound"


def test_missing_entry_cannot_be_replaced(ec2: Any, scene: Scene) -> None:
    code = _code(
        ec2.replace_network_acl_entry,
        NetworkAclId=scene.public_acl_id,
        RuleNumber=7,
        Protocol="-1",
        RuleAction="deny",
        Egress=False,
        CidrBlock="198.51.100.7/32",
    )

    assert code == "InvalidNetworkAclEntry.NotFound"


def test_entry_that_is_refused_leaves_the_former_in_place(ec2: Any, scene: Scene) -> None:
    before = _entries(ec2, scene.public_acl_id)

    _code(
        ec2.replace_network_acl_entry,
        NetworkAclId=scene.public_acl_id,
        RuleNumber=100,
        Protocol="-1",
        RuleAction="deny",
        Egress=False,
        CidrBlock="198.51.100.300/32",
    )

    assert _entries(ec2, scene.public_acl_id) == before


def test_stale_association_is_not_found(ec2: Any, scene: Scene) -> None:
    (acl,) = ec2.describe_network_acls(NetworkAclIds=[scene.public_acl_id])["NetworkAcls"]
    stale = acl["Associations"][0]["NetworkAclAssociationId"]
    ec2.replace_network_acl_association(AssociationId=stale, NetworkAclId=scene.private_acl_id)

    code = _code(
        ec2.replace_network_acl_association,
        AssociationId=stale,
        NetworkAclId=scene.public_acl_id,
    )

    assert code == "InvalidAssociationID.NotFound"


def test_unknown_nacl_is_not_found(ec2: Any) -> None:
    code = _code(ec2.describe_network_acls, NetworkAclIds=["acl-00000000000000000"])

    assert code == "InvalidNetworkAclID.NotFound"


def test_interface_lists_exactly_its_groups(ec2: Any, scene: Scene) -> None:
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=scene.web_interface_id, Groups=[scene.app_group_id]
    )

    assert _groups(ec2, scene.web_interface_id) == [scene.app_group_id]


def test_instance_has_the_groups_of_its_primary_interface(ec2: Any, scene: Scene) -> None:
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=scene.web_interface_id, Groups=[scene.app_group_id]
    )

    (reservation,) = ec2.describe_instances(InstanceIds=[scene.web_id])["Reservations"]
    instance = reservation["Instances"][0]

    assert [
        [g["GroupId"] for g in instance["SecurityGroups"]],
        [g["GroupId"] for g in instance["NetworkInterfaces"][0]["Groups"]],
    ] == [[scene.app_group_id], [scene.app_group_id]]


def test_groups_of_an_instance_go_to_its_only_interface(ec2: Any, scene: Scene) -> None:
    ec2.modify_instance_attribute(InstanceId=scene.web_id, Groups=[scene.app_group_id])

    assert _groups(ec2, scene.web_interface_id) == [scene.app_group_id]


def test_groups_of_an_instance_with_two_interfaces_are_refused(ec2: Any, scene: Scene) -> None:
    code = _code(
        ec2.modify_instance_attribute, InstanceId=scene.app_id, Groups=[scene.web_group_id]
    )

    assert code == "InvalidInstanceID"


def test_instances_are_found_by_their_profile(ec2: Any, scene: Scene) -> None:
    filters = [{"Name": "iam-instance-profile.arn", "Values": [scene.profile_arn]}]

    (reservation,) = ec2.describe_instances(Filters=filters)["Reservations"]

    assert [
        (i["InstanceId"], i["IamInstanceProfile"]["Arn"]) for i in reservation["Instances"]
    ] == [(scene.web_id, scene.profile_arn)]


def test_dry_run_changes_nothing(ec2: Any, scene: Scene) -> None:
    before = _entries(ec2, scene.public_acl_id)

    code = _code(
        ec2.create_network_acl_entry,
        NetworkAclId=scene.public_acl_id,
        RuleNumber=7,
        Protocol="-1",
        RuleAction="deny",
        Egress=False,
        CidrBlock="198.51.100.7/32",
        DryRun=True,
    )

    assert (code, _entries(ec2, scene.public_acl_id)) == ("DryRunOperation", before)


def test_copy_of_a_snapshot_is_encrypted_when_asked(ec2: Any, scene: Scene) -> None:
    snapshot_id = ec2.create_snapshot(VolumeId=scene.web_volume_ids[0])["SnapshotId"]

    copy_id = ec2.copy_snapshot(
        SourceSnapshotId=snapshot_id, SourceRegion="us-east-1", Encrypted=True
    )["SnapshotId"]

    (copy,) = ec2.describe_snapshots(SnapshotIds=[copy_id])["Snapshots"]
    assert copy["Encrypted"] is True


def test_quota_of_rules_can_be_read(stock: Stock) -> None:
    quotas = stock("service-quotas")

    named = quotas.get_service_quota(ServiceCode="vpc", QuotaCode="L-2AEEBF1A")["Quota"]
    listed = quotas.list_service_quotas(ServiceCode="vpc")["Quotas"]

    assert (named["Value"], named in listed) == (20.0, True)


def _modify(ec2: Any, scene: Scene, **attribute: Any) -> None:
    ec2.modify_network_interface_attribute(NetworkInterfaceId=scene.web_interface_id, **attribute)


def _interface(ec2: Any, scene: Scene) -> Any:
    found = ec2.describe_network_interfaces(NetworkInterfaceIds=[scene.web_interface_id])
    return found["NetworkInterfaces"][0]


def _web(ec2: Any, scene: Scene) -> Any:
    return ec2.describe_instances(InstanceIds=[scene.web_id])["Reservations"][0]["Instances"][0]


def test_idle_timeouts_are_kept_one_by_one(ec2: Any, scene: Scene) -> None:
    _modify(ec2, scene, ConnectionTrackingSpecification={"TcpEstablishedTimeout": 600})

    _modify(ec2, scene, ConnectionTrackingSpecification={"UdpTimeout": 45})

    assert _interface(ec2, scene)["ConnectionTrackingConfiguration"] == {
        "TcpEstablishedTimeout": 600,
        "UdpTimeout": 45,
    }
    assert [g["GroupId"] for g in _interface(ec2, scene)["Groups"]] == [scene.web_group_id]


def test_idle_timeout_out_of_range_is_refused(ec2: Any, scene: Scene) -> None:
    timeouts = {"TcpEstablishedTimeout": 59}

    with pytest.raises(ClientError, match="TcpEstablishedTimeout 59 is out of range"):
        _modify(ec2, scene, ConnectionTrackingSpecification=timeouts)


def test_idle_timeouts_want_a_nitro_type(ec2: Any, scene: Scene) -> None:
    ec2.modify_instance_attribute(InstanceId=scene.web_id, InstanceType={"Value": "t2.micro"})

    with pytest.raises(ClientError, match="not supported on t2"):
        _modify(ec2, scene, ConnectionTrackingSpecification={"UdpTimeout": 30})


def test_address_that_aws_lends_is_another_each_time(ec2: Any, scene: Scene) -> None:
    _modify(ec2, scene, AssociatePublicIpAddress=False)
    without = _interface(ec2, scene)

    _modify(ec2, scene, AssociatePublicIpAddress=True)

    assert "Association" not in without
    (private,) = _interface(ec2, scene)["PrivateIpAddresses"]
    assert private["Association"]["PublicIp"].startswith("203.0.113.")


def test_metadata_options_that_are_not_named_stay(ec2: Any, scene: Scene) -> None:
    ec2.modify_instance_metadata_options(
        InstanceId=scene.web_id, HttpTokens="required", HttpPutResponseHopLimit=3
    )

    answer = ec2.modify_instance_metadata_options(InstanceId=scene.web_id, HttpEndpoint="disabled")

    options = _web(ec2, scene)["MetadataOptions"]
    assert answer["InstanceMetadataOptions"] == {**options, "State": "pending"}
    assert (options["State"], options["HttpEndpoint"]) == ("applied", "disabled")
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 3)


def test_metadata_that_is_off_takes_no_options(ec2: Any, scene: Scene) -> None:
    with pytest.raises(ClientError, match="HttpTokens cannot be set while"):
        ec2.modify_instance_metadata_options(
            InstanceId=scene.web_id, HttpEndpoint="disabled", HttpTokens="required"
        )


def test_shutdown_behaviour_is_set_and_nothing_else(ec2: Any, scene: Scene) -> None:
    name = "instanceInitiatedShutdownBehavior"

    ec2.modify_instance_attribute(
        InstanceId=scene.web_id, InstanceInitiatedShutdownBehavior={"Value": "terminate"}
    )

    answer = ec2.describe_instance_attribute(InstanceId=scene.web_id, Attribute=name)
    assert answer["InstanceInitiatedShutdownBehavior"] == {"Value": "terminate"}
    assert [g["GroupId"] for g in _web(ec2, scene)["SecurityGroups"]] == [scene.web_group_id]
