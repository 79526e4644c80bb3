"""Whether we may make the calls of a plan, asked of EC2 by dry runs and of IAM for the rest."""

from collections.abc import Iterable
from functools import partial

from activities.aws import _identity
from firedoor.cloud.aws import Aws
from firedoor.model.plan import Call, Check, Plan

# What IAM calls services that it calls otherwise than the SDK does.
_PREFIXES = {"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing"}

PERMISSIONS = ("iam:GetRole", "iam:SimulatePrincipalPolicy")


def right(call: Call) -> str:
    """Return the right to make a call, for services whose rights have the names of operations."""
    return f"{_PREFIXES.get(call.service, call.service)}:{call.operation}"


def asked(plans: Iterable[Plan], aws: Aws) -> tuple[Plan, ...]:
    """Return plans with the answers to whether we may make their calls.

    What several plans ask alike is asked once.
    """
    plans = tuple(plans)
    wanted = dict.fromkeys(_wanted(plan) for plan in plans if plan.calls)
    dry = {call.operation: call for plan in reversed(plans) for call in plan.calls}
    answers = aws.together(*(partial(_answers, aws, dry, *question) for question in wanted))
    known = dict(zip(wanted, answers, strict=True))
    return tuple(
        plan.model_copy(update={"preflight": (*known[_wanted(plan)], *plan.preflight)})
        if plan.calls
        else plan
        for plan in plans
    )


def _wanted(plan: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which operations of EC2, and which other rights, a plan needs."""
    of_ec2 = dict.fromkeys(call.operation for call in plan.calls if call.service == "ec2")
    others = sorted({right(call) for call in plan.calls if call.service != "ec2"})
    return tuple(of_ec2), tuple(others)


def _answers(
    aws: Aws, dry: dict[str, Call], of_ec2: tuple[str, ...], others: tuple[str, ...]
) -> tuple[Check, ...]:
    rest = (_identity.may(aws, others, "*"),) if others else ()
    return (*(aws.allowed(dry[operation]) for operation in of_ec2), *rest)
