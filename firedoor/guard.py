"""The guard rails: why a plan must not be carried out, whoever asks and whoever would approve."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from firedoor.model.pattern import fits
from firedoor.model.plan import Plan
from firedoor.model.policy import Policy

Network = IPv4Network | IPv6Network

# Blocking more at once than this hits people who have nothing to do with it.
WIDEST = {4: 24, 6: 48}

# What nobody outside can send from, with what it is. The ranges for documentation are not here:
# examples and tests block them. https://www.iana.org/assignments/iana-ipv4-special-registry and
# https://www.iana.org/assignments/iana-ipv6-special-registry
RESERVED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this network (RFC 791)"),
        ("10.0.0.0/8", "private (RFC 1918)"),
        ("100.64.0.0/10", "shared by carriers and their customers (RFC 6598)"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, with the metadata and time services of AWS"),
        ("172.16.0.0/12", "private (RFC 1918)"),
        ("192.0.0.0/24", "reserved for protocols (RFC 6890)"),
        ("192.168.0.0/16", "private (RFC 1918)"),
        ("198.18.0.0/15", "reserved for benchmarks (RFC 2544)"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, and broadcast"),
        ("::/128", "no address"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4 written as IPv6 (RFC 4291)"),
        ("64:ff9b::/96", "IPv4 behind a translator (RFC 6052)"),
        ("64:ff9b:1::/48", "IPv4 behind a local translator (RFC 8215)"),
        ("100::/64", "discarded (RFC 6666)"),
        ("fc00::/7", "unique local, the private addresses of IPv6 (RFC 4193)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local (RFC 3879)"),
        ("ff00::/8", "multicast"),
    )
)


def refusals(plan: Plan, policy: Policy, identity: str) -> tuple[str, ...]:
    """Return why the guard rails forbid a plan: what, why, by which rule, and what to do instead.

    `identity` is the ARN that Firedoor itself acts as, or empty where it acts as nobody.
    """
    return (
        *_account(plan, policy),
        *_resources(plan, policy),
        *_own_host(plan, identity),
        *_principals(plan, policy, identity),
        *_networks(plan, policy),
    )


def _account(plan: Plan, policy: Policy) -> Iterator[str]:
    touched = plan.touched
    if not (plan.calls or touched.resources or touched.principals or touched.networks):
        return  # what only reads is welcome everywhere
    named = (plan.target.subject.account, *(_part(arn, 4) for arn in touched.principals))
    for account in dict.fromkeys(named):
        if account in policy.protected.accounts:
            yield (
                f"account {account} is protected (protected.accounts): act there by hand, or take"
                " it off the policy first"
            )


def _resources(plan: Plan, policy: Policy) -> Iterator[str]:
    for resource, tags in plan.touched.resources.items():
        for tag, value in tags.items():
            for known, pattern in policy.protected.tags.items():
                if fits(known, tag) and fits(pattern, value):
                    yield (
                        f"{resource} carries {tag}={value}, and {known}={pattern} is protected"
                        " (protected.tags): act by hand, or have its owner take the tag off first"
                    )
        for pattern in policy.protected.resources:
            if fits(pattern, resource) or fits(pattern, re.split("[:/]", resource)[-1]):
                yield (
                    f"{resource} is protected as {pattern} (protected.resources): act by hand, or"
                    " take it off the policy first"
                )


def _own_host(plan: Plan, identity: str) -> Iterator[str]:
    """Refuse the instance or the task that Firedoor runs on: AWS names its session after it."""
    match _part(identity, 5).split("/"):
        case ["assumed-role", _, session]:
            for resource in plan.touched.resources:
                if re.split("[:/]", resource)[-1] == session:
                    yield (
                        f"{resource} is what Firedoor itself runs on (own identity, {identity}): it"
                        " could not take this back; move its workers first, or act by hand"
                    )


def _principals(plan: Plan, policy: Policy, identity: str) -> Iterator[str]:
    for arn in plan.touched.principals:
        if identity and _bare(arn) == _bare(identity):
            yield (
                f"{arn} is who Firedoor itself acts as (own identity, {identity}): it could not"
                " take this back; let another administrator do it"
            )
        for pattern in policy.protected.principals:
            if _covers(pattern, arn):
                yield (
                    f"{arn} is protected as {pattern} (protected.principals): act by hand, or take"
                    " it off the policy first"
                )


def _networks(plan: Plan, policy: Policy) -> Iterator[str]:
    for network in plan.touched.networks:
        widest = WIDEST[network.version]
        if network.prefixlen < widest:
            yield (
                f"{network} is wider than /{widest} (catch-all networks): block the addresses that"
                " attack, one by one"
            )
        else:
            yield from _reserved(network)
        for known in policy.protected.networks:
            if _overlap(network, known):
                yield (
                    f"{network} lies in or around {known}, which is protected (protected.networks):"
                    " contain the host that has the address, or take it off the policy first"
                )


def _reserved(network: Network) -> Iterator[str]:
    for known, what in RESERVED:
        if _overlap(network, known):
            other = "block the IPv4 address" if "IPv4" in what else "contain the host that has it"
            yield f"{network} lies in {known}, which is {what} (reserved networks): {other} instead"


def _overlap(one: Network, other: Network) -> bool:
    match one, other:
        case (IPv4Network(), IPv4Network()) | (IPv6Network(), IPv6Network()):
            return one.overlaps(other)
        case _:
            return False


def _covers(pattern: str, arn: str) -> bool:
    """Tell whether a pattern of ARNs means a principal, with or without path and session."""
    if fits(pattern, arn) or fits(pattern, _bare(arn)):
        return True
    # Without its path, a pattern that ends in * would mean every role there is.
    exact = "*" not in pattern or ":assumed-role/" in pattern
    return exact and fits(_bare(pattern), _bare(arn))


def _bare(arn: str) -> str:
    """Return a user or role without its path, and a session as its role; names are unique so."""
    partition, account, resource = _part(arn, 1), _part(arn, 4), _part(arn, 5)
    match resource.casefold().split("/"):
        case ["assumed-role", name, *_]:
            return f"arn:{partition}:iam::{account}:role/{name}".casefold()
        case ["role" | "user" as kind, *_, name]:
            return f"arn:{partition}:iam::{account}:{kind}/{name}".casefold()
        case _:
            return arn.casefold()


def _part(arn: str, index: int) -> str:
    """Return a part of arn:partition:service:region:account:resource; nothing if it lacks it."""
    return dict(enumerate(arn.split(":", 5))).get(index, "")
