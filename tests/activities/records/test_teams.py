"""Teams, against a receiver that takes what a workflow and Adaptive Cards 1.4 take."""

import json
import re
from typing import Any

import pytest

from activities.records.teams import CHANNEL
from firedoor.channel import Choice
from firedoor.errors import Refused
from firedoor.model.message import Addressee

MEMBER = "0f8fad5b-d9cb-469f-a165-70867728950e"

# Members of each type, after the schema explorer of Adaptive Cards; those that must be there first.
TYPES = {
    "AdaptiveCard": (
        {"type", "version"},
        {"$schema", "body", "actions", "fallbackText", "msteams"},
    ),
    "RichTextBlock": ({"type", "inlines"}, {"spacing"}),
    "TextRun": ({"type", "text"}, {"size", "weight"}),
    "TextBlock": ({"type", "text"}, {"wrap"}),
    "Input.Text": (
        {"type", "id"},
        {"label", "isRequired", "errorMessage", "isMultiline", "maxLength"},
    ),
    "Action.Submit": ({"type"}, {"title", "style", "data"}),
}
VALUES = {
    "size": {"Small", "Default", "Medium", "Large", "ExtraLarge"},
    "weight": {"Lighter", "Default", "Bolder"},
    "spacing": {"None", "Small", "Default", "Medium", "Large", "ExtraLarge", "Padding"},
    "style": {"default", "positive", "destructive"},
}


def valid(element: Any, *types: str) -> None:
    """Check an element against the types that may stand in its place."""
    assert element["type"] in types
    needed, possible = TYPES[element["type"]]
    assert needed <= element.keys() <= needed | possible
    assert all(element[key] in values for key, values in VALUES.items() if key in element)
    for inner in element.get("body", ()):
        valid(inner, "RichTextBlock", "TextBlock", "Input.Text")
    for inner in element.get("inlines", ()):
        valid(inner, "TextRun")
    for inner in element.get("actions", ()):
        valid(inner, "Action.Submit")


def card(got: Any) -> Any:
    """Return a card if Teams would take it."""
    body = got.json
    (attachment,) = body["attachments"]
    made = attachment["content"]
    assert got.headers["content-type"].startswith("application/json")
    assert len(got.body) <= 28 * 1024
    assert (body.keys(), body["type"]) == ({"type", "attachments"}, "message")
    assert attachment.keys() == {"contentType", "content"}
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert made["version"] in {"1.2", "1.3", "1.4", "1.5"}
    valid(made, "AdaptiveCard")
    ids = [element["id"] for element in made["body"] if "id" in element]
    assert len(ids) == len(set(ids))
    # A mention is one if its text stands in the card as it is.
    blocks = " ".join(element.get("text", "") for element in made["body"])
    assert all(one["text"] in blocks for one in made["msteams"]["entities"])
    assert len(re.findall("<at>", blocks)) == len(made["msteams"]["entities"])
    return made


def shown(made: Any) -> str:
    """Return what a person reads of it, a line for each block."""
    return "\n".join(
        "".join(run["text"] for run in element.get("inlines", ())) for element in made["body"]
    )


@pytest.fixture
def teams(use: Any, receiver: Any) -> Any:
    use(teams_webhook=receiver.url)
    receiver.answers((202, b""))
    return receiver


def test_card_says_all_that_matters(teams: Any, message: Any, said: tuple[str, ...]) -> None:
    delivered = CHANNEL.deliver(message())

    made = card(teams.only)
    assert delivered.answer == "accepted"
    assert made["fallbackText"] == "Decide on isolate: i-0aaaaaaaaaaaaaaaa"
    assert shown(made).startswith("Decide on isolate: i-0aaaaaaaaaaaaaaaa\n")
    assert [text for text in said if text not in shown(made)] == []


def test_answer_200_is_a_success_too(teams: Any, message: Any) -> None:
    teams.answers((200, b"1"))

    assert CHANNEL.deliver(message()).channel == "teams"


def inputs(made: Any) -> list[Any]:
    return [element for element in made["body"] if element["type"] == "Input.Text"]


def test_buttons_carry_what_is_decided_and_nothing_that_decides(teams: Any, message: Any) -> None:
    sent = message(chat=True)

    CHANNEL.deliver(sent)

    made = card(teams.only)
    choice = Choice(
        incident=sent.incident, run=sent.run, step=sent.step, plan_digest=sent.plan_digest
    )
    assert [(one["id"], one["isRequired"]) for one in inputs(made)] == [("reason", True)]
    assert [one["data"] for one in made["actions"]] == [
        {**choice.model_dump(), "answer": "approve"},
        {**choice.model_dump(), "answer": "deny"},
    ]


def test_card_says_the_words_that_answer_where_buttons_do_not_work(
    teams: Any, message: Any
) -> None:
    sent = message(chat=True)

    CHANNEL.deliver(sent)

    words = f"approve {sent.incident} {sent.run} {sent.step} {sent.plan_digest} and your reason"
    assert words in shown(card(teams.only))


def test_without_chat_there_are_no_buttons(teams: Any, message: Any) -> None:
    CHANNEL.deliver(message(chat=False))

    made = card(teams.only)
    assert "actions" not in made
    assert inputs(made) == []
    assert "mention" not in shown(made)


def test_people_are_called_by_their_id_only(teams: Any, message: Any) -> None:
    to = (
        Addressee(name="Alice <b>[x](https://evil.example)", teams=MEMBER),
        Addressee(name="mallory", teams="everyone"),
        Addressee(name="bob"),
    )

    CHANNEL.deliver(message(to=to))

    (entity,) = card(teams.only)["msteams"]["entities"]
    assert entity["mentioned"]["id"] == MEMBER
    assert not set("[]()/:") & set(entity["mentioned"]["name"])


HOSTILE = "[click](https://evil.example) **b** <at>all</at> \u202egnp.exe \x1b[2J\x00"


def test_names_of_an_attacked_account_do_not_act(teams: Any, message: Any) -> None:
    CHANNEL.deliver(
        message(
            to=(), incident=HOSTILE, step=HOSTILE, subject=HOSTILE, title=HOSTILE, text=HOSTILE,
            plans=(HOSTILE,), blast_radius=(HOSTILE,), lost=(HOSTILE,), how=HOSTILE, chat=True,
        )
    )  # fmt: skip

    made = card(teams.only)
    # Only a TextBlock reads Markdown.
    assert {one["type"] for one in made["body"]} == {"RichTextBlock", "Input.Text"}
    assert shown(made).count("[click]") == 11
    assert not set("\u202e\x1b\x00") & set(shown(made) + made["fallbackText"])


def test_flood_of_text_is_cut_and_what_decides_is_not(
    teams: Any, message: Any, said: tuple[str, ...]
) -> None:
    long = 'é"' * 1000
    many = tuple(f"{n} {long}" for n in range(1000))
    to = tuple(
        Addressee(name=f"{'é' * 100}{n}", teams=f"{n:08}-0000-0000-0000-000000000000")
        for n in range(1000)
    )

    CHANNEL.deliver(
        message(
            title="é" * 5000, text="y\n" * 10**5, plans=many, blast_radius=many, lost=many, to=to,
            chat=True,
        )
    )  # fmt: skip

    made = card(teams.only)
    assert [one for one in said[4:] if one not in shown(made)] == []
    assert "more: see the incident" in shown(made)
    assert len(made["actions"]) == 2


def test_what_never_fits_is_not_sent(teams: Any, message: Any) -> None:
    with pytest.raises(Refused, match="28672 bytes"):
        CHANNEL.deliver(message(how="x" * 30_000))

    assert teams.got == []


def test_address_of_the_workflow_is_not_in_the_card(teams: Any, message: Any) -> None:
    CHANNEL.deliver(message())

    assert teams.url not in json.dumps(teams.only.json)
