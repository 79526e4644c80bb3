"""What security group rules refer to."""

from ipaddress import ip_address, ip_network

import boto3

from activities.aws._references import references
from firedoor.cloud.aws import Aws
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws


def test_entries_of_prefix_lists_and_members_of_groups_are_read(aws: Aws, scene: Scene) -> None:
    ec2 = boto3.client("ec2")
    made = ec2.create_managed_prefix_list(
        PrefixListName="partners",
        AddressFamily="IPv4",
        MaxEntries=5,
        Entries=[{"Cidr": "198.51.100.0/24"}],
    )["PrefixList"]["PrefixListId"]
    group = {
        "IpPermissions": [{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": made}]}],
        "IpPermissionsEgress": [
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": scene.web_group_id}]}
        ],
    }

    known = references(aws, [group])

    assert known.prefix_lists == {made: [ip_network("198.51.100.0/24")]}
    assert known.members == {scene.web_group_id: [ip_address(scene.web_address)]}


def test_what_belongs_to_others_stays_unknown(aws: Aws, lab: EmulatedAws) -> None:
    elsewhere = {"GroupId": "sg-0123456789abcdef0", "UserId": "210987654321"}
    peered = {"GroupId": "sg-0123456789abcdef1", "VpcPeeringConnectionId": "pcx-1"}
    gone = {"PrefixListId": "pl-0123456789abcdef0"}
    permission = {
        "IpProtocol": "-1",
        "UserIdGroupPairs": [elsewhere, peered],
        "PrefixListIds": [gone],
    }

    fault = {"service": "ec2", "operation": "GetManagedPrefixListEntries", "status": 400}
    lab.control("POST", "firedoor/faults", fault | {"code": "InvalidPrefixListID.NotFound"})

    known = references(aws, [{"IpPermissions": [permission]}])

    assert (known.prefix_lists, known.members) == ({}, {})
