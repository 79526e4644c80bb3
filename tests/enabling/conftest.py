"""A small account in which nothing is logged yet."""

from functools import cache
from typing import Any, NamedTuple

import boto3
import pytest

from firedoor.cloud.aws import Aws
from firedoor.lab.server import ACCOUNT, REGION
from firedoor.switch import Order

BUCKET = "aws-waf-logs-example"


class Account(NamedTuple):
    """What there is, and the order to log it."""

    order: Order
    vpcs: list[str]

    def client(self, service: str) -> Any:
        """Return a client that may do anything."""
        return _client(service)


@cache
def _client(service: str) -> Any:
    return boto3.Session().client(service, REGION)


@pytest.fixture
def account(aws: Aws) -> Account:
    _client("s3").create_bucket(Bucket=BUCKET)
    ec2 = _client("ec2")
    ec2.create_vpc(CidrBlock="10.1.0.0/16")
    vpcs = sorted(vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"])
    order = Order(account=ACCOUNT, region=REGION, destination=f"s3://{BUCKET}/network")
    return Account(order, vpcs)


@pytest.fixture
def served(account: Account) -> Account:
    """The same with a load balancer and a web ACL."""
    subnets = [subnet["SubnetId"] for subnet in _client("ec2").describe_subnets()["Subnets"]]
    _client("elbv2").create_load_balancer(Name="web", Subnets=subnets[:2], Type="application")
    _client("wafv2").create_web_acl(
        Name="web",
        Scope="REGIONAL",
        DefaultAction={"Allow": {}},
        VisibilityConfig={
            "SampledRequestsEnabled": False,
            "CloudWatchMetricsEnabled": False,
            "MetricName": "web",
        },
    )
    return account
