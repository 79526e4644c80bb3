"""Route 53 Resolver DNS Firewall, which moto lacks: lists, rule groups, rules, associations.

Modelled after the public reference: `CreatorRequestId` makes a repeated creation the same one,
changes of a list and of an association take effect later (see `SETTLES`, counted in looks at them)
and are ConflictException until then, priorities are unique, those of associations above 100 and
below 9900, protected associations are not removed, and what is in use is not deleted.
"""

import json
from datetime import UTC, datetime
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.ec2.models import ec2_backends
from moto.moto_api._internal import mock_random
from moto.route53resolver.models import Route53ResolverBackend
from moto.route53resolver.responses import Route53ResolverResponse

from firedoor.lab import patch

SETTLES = 1
"""How often a thing that was changed is shown as UPDATING or DELETING first."""

LARGEST_LIST = 100_000
Thing = dict[str, Any]


def install() -> None:
    """Add DNS Firewall to moto's Resolver."""
    patch.around(Route53ResolverBackend, "__init__", _with_stores)
    patch.around(Route53ResolverBackend, "_matched_arn", _known)
    patch.add(
        Route53ResolverResponse,
        associate_firewall_rule_group,
        create_firewall_domain_list,
        create_firewall_rule,
        create_firewall_rule_group,
        delete_firewall_domain_list,
        delete_firewall_rule,
        delete_firewall_rule_group,
        disassociate_firewall_rule_group,
        get_firewall_config,
        get_firewall_domain_list,
        get_firewall_rule_group_association,
        list_firewall_domain_lists,
        list_firewall_domains,
        list_firewall_rule_group_associations,
        list_firewall_rule_groups,
        list_firewall_rules,
        update_firewall_config,
        update_firewall_domains,
        update_firewall_rule_group_association,
    )


# Domain lists


def create_firewall_domain_list(self: Route53ResolverResponse) -> str:
    """Make an empty list."""
    body, store = json.loads(self.body), _store(self, "lists")
    made = _repeated(body, store) or _new(
        self, body, store, "rslvr-fdl", "firewall-domain-list", DomainCount=0, Domains=[]
    )
    return json.dumps({"FirewallDomainList": _shown(made, "Domains")})


def get_firewall_domain_list(self: Route53ResolverResponse) -> str:
    """Show a list without its domains."""
    found = _looked_at(_store(self, "lists"), json.loads(self.body)["FirewallDomainListId"])
    return json.dumps({"FirewallDomainList": _shown(found, "Domains")})


def list_firewall_domain_lists(self: Route53ResolverResponse) -> str:
    """List the lists in one page."""
    names = ("Id", "Arn", "Name", "CreatorRequestId")
    lists = _store(self, "lists").values()
    return json.dumps({"FirewallDomainLists": [{n: one[n] for n in names} for one in lists]})


def list_firewall_domains(self: Route53ResolverResponse) -> str:
    """List the domains of a list in one page."""
    found = _get(_store(self, "lists"), json.loads(self.body)["FirewallDomainListId"])
    return json.dumps({"Domains": found["Domains"]})


def update_firewall_domains(self: Route53ResolverResponse) -> str:
    """Change the domains of a list; it takes a while until it is complete again."""
    body = json.loads(self.body)
    found = _get(_store(self, "lists"), body["FirewallDomainListId"])
    _expect_settled(found)
    given = [domain.rstrip(".").lower() + "." for domain in body["Domains"]]
    old = found["Domains"]
    match body["Operation"]:
        case "ADD":
            new = [*old, *(d for d in dict.fromkeys(given) if d not in old)]
        case "REMOVE":
            new = [domain for domain in old if domain not in given]
        case _:
            new = list(dict.fromkeys(given))
    if len(new) > LARGEST_LIST:
        raise JsonRESTError("LimitExceededException", "The list is full")
    found |= {"Domains": new, "DomainCount": len(new)}
    _unsettle(found)
    return json.dumps({n: found[n] for n in ("Id", "Name", "Status", "StatusMessage")})


def delete_firewall_domain_list(self: Route53ResolverResponse) -> str:
    """Remove a list that no rule looks at."""
    lists, id = _store(self, "lists"), json.loads(self.body)["FirewallDomainListId"]
    found = _get(lists, id)
    if any(rule["FirewallDomainListId"] == id for rule in _store(self, "rules").values()):
        raise _conflict("The domain list is in use by a rule")
    del lists[id]
    return json.dumps({"FirewallDomainList": {**_shown(found, "Domains"), "Status": "DELETING"}})


# Rule groups and rules


def create_firewall_rule_group(self: Route53ResolverResponse) -> str:
    """Make an empty rule group."""
    body, store = json.loads(self.body), _store(self, "groups")
    made = _repeated(body, store) or _new(
        self, body, store, "rslvr-frg", "firewall-rule-group", OwnerId=self.current_account,
        RuleCount=0, ShareStatus="NOT_SHARED",
    )  # fmt: skip
    return json.dumps({"FirewallRuleGroup": _shown(made)})


def list_firewall_rule_groups(self: Route53ResolverResponse) -> str:
    """List the rule groups in one page."""
    names = ("Id", "Arn", "Name", "OwnerId", "CreatorRequestId", "ShareStatus")
    groups = _store(self, "groups").values()
    return json.dumps({"FirewallRuleGroups": [{n: one[n] for n in names} for one in groups]})


def delete_firewall_rule_group(self: Route53ResolverResponse) -> str:
    """Remove a rule group without rules that no VPC uses."""
    groups, id = _store(self, "groups"), json.loads(self.body)["FirewallRuleGroupId"]
    found = _get(groups, id)
    users = (*_store(self, "rules").values(), *_store(self, "associations").values())
    if any(user["FirewallRuleGroupId"] == id for user in users):
        raise _conflict("The rule group has rules or is associated with a VPC")
    del groups[id]
    return json.dumps({"FirewallRuleGroup": {**_shown(found), "Status": "DELETING"}})


def create_firewall_rule(self: Route53ResolverResponse) -> str:
    """Add a rule to a group."""
    body, rules = json.loads(self.body), _store(self, "rules")
    _get(_store(self, "groups"), body["FirewallRuleGroupId"])
    _get(_store(self, "lists"), body["FirewallDomainListId"])
    if body["Action"] == "BLOCK" and "BlockResponse" not in body:
        raise JsonRESTError("ValidationException", "BlockResponse is required")
    if made := _repeated(body, rules):
        return json.dumps({"FirewallRule": _shown(made, "Id")})
    same_group = [
        r for r in rules.values() if r["FirewallRuleGroupId"] == body["FirewallRuleGroupId"]
    ]
    if any(rule["Priority"] == body["Priority"] for rule in same_group):
        raise JsonRESTError("ValidationException", "The priority is used by another rule")
    if any(r["FirewallDomainListId"] == body["FirewallDomainListId"] for r in same_group):
        raise JsonRESTError("ValidationException", "The list is used by another rule of the group")
    made = {"FirewallDomainRedirectionAction": "INSPECT_REDIRECTION_DOMAIN", **body, **_times()}
    rules[f"{body['FirewallRuleGroupId']}/{body['FirewallDomainListId']}"] = made
    return json.dumps({"FirewallRule": made})


def list_firewall_rules(self: Route53ResolverResponse) -> str:
    """List the rules of a group by priority, in one page."""
    id = json.loads(self.body)["FirewallRuleGroupId"]
    _get(_store(self, "groups"), id)
    rules = [r for r in _store(self, "rules").values() if r["FirewallRuleGroupId"] == id]
    return json.dumps({"FirewallRules": sorted(rules, key=lambda rule: rule["Priority"])})


def delete_firewall_rule(self: Route53ResolverResponse) -> str:
    """Remove a rule."""
    body, rules = json.loads(self.body), _store(self, "rules")
    id = f"{body['FirewallRuleGroupId']}/{body['FirewallDomainListId']}"
    found = _get(rules, id)
    del rules[id]
    return json.dumps({"FirewallRule": found})


# Associations


def associate_firewall_rule_group(self: Route53ResolverResponse) -> str:
    """Let a VPC use a rule group."""
    body, store = json.loads(self.body), _store(self, "associations")
    _get(_store(self, "groups"), body["FirewallRuleGroupId"])
    if body["VpcId"] not in ec2_backends[self.current_account][self.region].vpcs:
        raise _missing(body["VpcId"])
    if made := _repeated(body, store):
        return json.dumps({"FirewallRuleGroupAssociation": _shown(made)})
    _check_priority(body["Priority"], body["VpcId"], store)
    made = _new(
        self, body, store, "rslvr-frgassoc", "firewall-rule-group-association",
        FirewallRuleGroupId=body["FirewallRuleGroupId"], VpcId=body["VpcId"],
        Priority=body["Priority"], MutationProtection=body.get("MutationProtection", "DISABLED"),
    )  # fmt: skip
    _unsettle(made)
    return json.dumps({"FirewallRuleGroupAssociation": _shown(made)})


def get_firewall_rule_group_association(self: Route53ResolverResponse) -> str:
    """Show an association; one that is being removed is shown `SETTLES` times."""
    store, id = (
        _store(self, "associations"),
        json.loads(self.body)["FirewallRuleGroupAssociationId"],
    )
    return json.dumps({"FirewallRuleGroupAssociation": _shown(_looked_at(store, id))})


def list_firewall_rule_group_associations(self: Route53ResolverResponse) -> str:
    """List associations, all or those of a VPC or group, in one page."""
    body = json.loads(self.body or "{}")
    store = _store(self, "associations")
    for id in list(store):
        _look(store, id)
    found = [
        _shown(one)
        for one in store.values()
        if all(one[n] == body[n] for n in ("VpcId", "FirewallRuleGroupId", "Priority") if n in body)
    ]
    return json.dumps({"FirewallRuleGroupAssociations": found})


def update_firewall_rule_group_association(self: Route53ResolverResponse) -> str:
    """Change the priority or the protection of an association."""
    body, store = json.loads(self.body), _store(self, "associations")
    found = _get(store, body["FirewallRuleGroupAssociationId"])
    if "Priority" in body:
        _expect_settled(found)
        _check_priority(body["Priority"], found["VpcId"], store)
    found |= {n: body[n] for n in ("MutationProtection", "Name", "Priority") if n in body}
    return json.dumps({"FirewallRuleGroupAssociation": _shown(found)})


def disassociate_firewall_rule_group(self: Route53ResolverResponse) -> str:
    """Begin to take a rule group from a VPC."""
    store, id = (
        _store(self, "associations"),
        json.loads(self.body)["FirewallRuleGroupAssociationId"],
    )
    found = _get(store, id)
    _expect_settled(found)
    if found["MutationProtection"] == "ENABLED":
        raise JsonRESTError("ValidationException", "The association is protected from mutation")
    _unsettle(found, "DELETING")
    return json.dumps({"FirewallRuleGroupAssociation": _shown(found)})


def get_firewall_config(self: Route53ResolverResponse) -> str:
    """Show whether queries are answered while the firewall does not."""
    vpc = json.loads(self.body)["ResourceId"]
    config = {
        "Id": f"rslvr-fc-{vpc.removeprefix('vpc-')}",
        "ResourceId": vpc,
        "OwnerId": self.current_account,
        "FirewallFailOpen": _store(self, "configs").get(vpc, "DISABLED"),
    }
    return json.dumps({"FirewallConfig": config})


def update_firewall_config(self: Route53ResolverResponse) -> str:
    """Say whether queries are answered while the firewall does not."""
    body = json.loads(self.body)
    _store(self, "configs")[body["ResourceId"]] = body["FirewallFailOpen"]
    return get_firewall_config(self)


# Helpers


def _known(matched: Any, backend: Any, arn: str) -> None:
    """Let what has tags be of DNS Firewall, too."""
    if not any(
        one.get("Arn") == arn
        for kind in ("lists", "groups", "associations")
        for one in backend.dns_firewall[kind].values()
    ):
        matched(backend, arn)


def _with_stores(init: Any, backend: Any, *args: Any, **kwargs: Any) -> None:
    init(backend, *args, **kwargs)
    backend.dns_firewall = {
        kind: {} for kind in ("lists", "groups", "rules", "associations", "configs")
    }


def _store(self: Route53ResolverResponse, kind: str) -> dict[str, Any]:
    return self.route53resolver_backend.dns_firewall[kind]  # type: ignore[attr-defined,no-any-return]


def _new(
    self: Route53ResolverResponse, body: Thing, store: dict[str, Thing], prefix: str, kind: str,
    **members: Any,
) -> Thing:  # fmt: skip
    id = f"{prefix}-{mock_random.get_random_hex(17)}"
    arn = f"arn:aws:route53resolver:{self.region}:{self.current_account}:{kind}/{id}"
    made = {
        "Id": id,
        "Arn": arn,
        "Name": body["Name"],
        "CreatorRequestId": body["CreatorRequestId"],
        "Status": "COMPLETE",
        "StatusMessage": "",
        "Looks": 0,
        **_times(),
        **members,
    }
    store[id] = made
    if tags := body.get("Tags"):
        self.route53resolver_backend.tagger.tag_resource(arn, tags)
    return made


def _repeated(body: Thing, store: dict[str, Thing]) -> Thing | None:
    asked = body["CreatorRequestId"]
    return next((one for one in store.values() if one["CreatorRequestId"] == asked), None)


def _looked_at(store: dict[str, Thing], id: str) -> Thing:
    found = _get(store, id)
    _look(store, id)
    return found


def _look(store: dict[str, Thing], id: str) -> None:
    """Count a look; what was looked at often enough is settled."""
    found = store[id]
    if found["Status"] == "COMPLETE":
        return
    if found["Looks"] > 0:
        found["Looks"] -= 1
    elif found["Status"] == "DELETING":
        del store[id]
    else:
        found["Status"] = "COMPLETE"


def _unsettle(thing: Thing, status: str = "UPDATING") -> None:
    thing |= {"Status": status, "Looks": SETTLES}


def _expect_settled(thing: Thing) -> None:
    if thing["Status"] != "COMPLETE":
        raise _conflict(f"{thing['Id']} is {thing['Status']}")


def _check_priority(priority: int, vpc: str, store: dict[str, Thing]) -> None:
    if not 100 < priority < 9900:
        raise JsonRESTError("ValidationException", "Priority is not between 100 and 9900")
    if any((one["VpcId"], one["Priority"]) == (vpc, priority) for one in store.values()):
        raise JsonRESTError("ValidationException", f"Priority {priority} is used in {vpc}")


def _get(store: dict[str, Any], id: str) -> Thing:
    if id not in store:
        raise _missing(id)
    return store[id]  # type: ignore[no-any-return]


def _shown(thing: Thing, *hidden: str) -> Thing:
    return {name: value for name, value in thing.items() if name not in {"Looks", *hidden}}


def _times() -> dict[str, str]:
    now = datetime.now(UTC).isoformat()
    return {"CreationTime": now, "ModificationTime": now}


def _conflict(message: str) -> JsonRESTError:
    return JsonRESTError("ConflictException", message)


def _missing(what: str) -> JsonRESTError:
    return JsonRESTError("ResourceNotFoundException", f"{what} does not exist")
