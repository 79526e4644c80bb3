"""The policy of this installation: guard rails, and what it takes to approve, from a YAML file.

approvals:                           # the first that fits a step counts
  - id: destructive
    effects: [restrict_account, quarantine_*]
    quorum: 2                        # people, of the groups
    groups: [responders]
    seats: [owner, security-leads]   # each filled by another one of those who approve
    step_up: true                    # hardware keys only
    deadline: 15m
    escalation: [{to: [managers], within: 30m}]     # then it is no
  - id: usual
    excludes: [requester]            # and on_call, if it is left out
    accepts: [ssh, chat]
    standing: {severities: [critical], ratify_within: 12h}
channels:                            # by which people are told, and of what
  slack: {}
  pagerduty: {occasions: [escalated, alarm]}
owner_tags: [owner, team]            # tags that name who owns a resource
protected:                           # what no plan may lay hands on
  tags:
    environment: break-glass         # beside firedoor:protected, which holds always
  resources: [i-0123456789abcdef0]   # ids; * stands for any characters
  principals:
    - arn:aws:iam::123456789012:role/break-glass
  accounts: [123456789012]
  networks: [203.0.113.0/24]         # never blocked; private and reserved ones never are
limits:                              # what is above waits
  containments: 20                   # new ones within the window
  window: 1h
  fleet_share: 0.5                   # of an Auto Scaling group, a target group …
autonomy:                            # the first that fits counts; otherwise as the runbook says
  - classes: [production]
    at_most: ask                     # shadow only plans; ask always asks; auto as the runbook says
accounts:                            # by account, or by account/region
  123456789012: {class: production, role: firedoor, external_id: x-1, task_queue: firedoor-eu}
"""

from pathlib import Path

from pydantic import ValidationError

from firedoor.document import Problem, problem, problems, read
from firedoor.errors import BadInput
from firedoor.model.approval import Rule
from firedoor.model.policy import TAGS, Policy
from firedoor.model.responder import Roster

ALONE = Rule(id="alone", excludes=())
"""What holds without a policy: any one responder decides, on what they asked for themselves too."""


def load(path: Path | None, roster: Roster) -> Policy:
    """Return the policy in a file, with the responders; without a file each decides alone.

    Raises `BadInput` with the file, the line and what is expected there.
    """
    if path is None:
        return Policy(roster=roster, approvals=(ALONE,))
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput("policy", str(path), f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput("policy", str(path), "expected UTF-8") from error
    return parse(text, str(path)).model_copy(update={"roster": roster})


def parse(text: str, name: str) -> Policy:
    """Return the policy that a text holds, with no responders yet; `name` is that of its file.

    Raises `BadInput` with the file, the line and what is expected there.
    """
    written = read(text, name, only_text=True)
    if isinstance(written, Problem):
        raise _refusal([written])
    for elsewhere in ("roster", "responders"):
        if isinstance(written.value, dict) and elsewhere in written.value:
            said = f"`{elsewhere}` does not belong here"
            mend = "who may decide is in responders.yaml and allowed_signers"
            raise _refusal([problem(written, (elsewhere,), said, mend)])
    try:
        policy = Policy.model_validate(written.value)
    except ValidationError as error:
        raise _refusal(problems(written, Policy, error)) from error
    tags = {**TAGS, **policy.protected.tags}
    protected = policy.protected.model_copy(update={"tags": tags})
    return policy.model_copy(update={"protected": protected})


def _refusal(found: list[Problem]) -> BadInput:
    first, *others = sorted(found, key=lambda p: p.line)
    error = BadInput(first.file, f"line {first.line}", f"{first.problem}: {first.mend}")
    for other in others:
        error.add_note(str(other))
    return error
