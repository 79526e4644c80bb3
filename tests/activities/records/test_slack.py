"""Slack, against a receiver that takes what Block Kit and chat.postMessage take."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from activities.records.slack import CHANNEL
from firedoor.channel import Busy, Choice
from firedoor.errors import BadInput, Refused
from firedoor.model.message import Addressee

TOKEN = "xoxb-012345-abcdef"
ROOM = "C012AB3CD"

LONGEST = {"header": 150, "section": 3000, "field": 2000, "button": 75, "label": 2000}


def texts(blocks: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield each text object of a message with what it is part of."""
    for block in blocks:
        match block["type"]:
            case "header":
                yield "header", block["text"]
            case "section":
                assert ("text" in block) != ("fields" in block)
                yield from (("field", field) for field in block.get("fields", ()))
                if "text" in block:
                    yield "section", block["text"]
            case "input":
                yield "label", block["label"]
            case "actions":
                yield from (("button", element["text"]) for element in block["elements"])


def content(got: Any) -> Any:
    """Return a message if Slack would take it, by its documented limits."""
    body = got.json
    blocks = body["blocks"]
    assert got.headers["content-type"] == "application/json; charset=utf-8"
    assert body["text"]
    assert 0 < len(blocks) <= 50
    assert {block["type"] for block in blocks} <= {"header", "section", "input", "actions"}
    assert all(len(block.get("fields", ())) <= 10 for block in blocks)
    assert all(block["text"]["type"] == "plain_text" for block in blocks[:1])
    for part, text in texts(blocks):
        assert set(text) <= {"type", "text", "emoji"}
        assert text["type"] in {"plain_text", "mrkdwn"}
        assert 0 < len(text["text"]) <= LONGEST[part]
        assert not re.search(r"&(?!amp;|lt;|gt;)", text["text"])
        if text["type"] == "plain_text":
            assert not set("<>") & set(text["text"])
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    assert len(ids) == len(set(ids))
    return body


def shown(body: Any) -> str:
    """Return what a person reads of it."""
    return html.unescape("\n".join(text["text"] for _, text in texts(body["blocks"])))


@pytest.fixture
def slack(use: Any, receiver: Any) -> Any:
    use(slack_token=TOKEN, slack_channel=ROOM, slack_url=receiver.url)
    receiver.answers((200, b'{"ok": true, "channel": "C012AB3CD", "ts": "1767268800.000100"}'))
    return receiver


@pytest.fixture
def webhook(use: Any, receiver: Any) -> Any:
    use(slack_webhook=receiver.url)
    receiver.answers((200, b"ok"))
    return receiver


def test_bot_posts_all_that_matters_to_its_channel(
    slack: Any, message: Any, said: tuple[str, ...]
) -> None:
    delivered = CHANNEL.deliver(message())

    body = content(slack.only)
    assert delivered.answer == "1767268800.000100"
    assert slack.only.headers["authorization"] == f"Bearer {TOKEN}"
    assert body["channel"] == ROOM
    assert body["text"] == "Decide on isolate: i-0aaaaaaaaaaaaaaaa"
    assert [text for text in said if text not in shown(body)] == []
    assert TOKEN not in slack.only.body.decode()


def test_webhook_posts_the_same(webhook: Any, message: Any, said: tuple[str, ...]) -> None:
    delivered = CHANNEL.deliver(message())

    body = content(webhook.only)
    assert delivered.answer == "ok"
    assert set(body) == {"text", "blocks"}
    assert [text for text in said if text not in shown(body)] == []


def interactive(body: Any) -> list[Any]:
    return [block for block in body["blocks"] if block["type"] in {"input", "actions"}]


def test_buttons_carry_what_is_decided_and_nothing_that_decides(slack: Any, message: Any) -> None:
    sent = message(chat=True)

    CHANNEL.deliver(sent)

    reason, decision = interactive(content(slack.only))
    assert (reason["block_id"], reason["element"]["action_id"]) == ("reason", "reason")
    assert [button["action_id"] for button in decision["elements"]] == ["approve", "deny"]
    for button in decision["elements"]:
        assert len(button["value"]) <= 2000
        assert Choice.model_validate_json(button["value"]) == Choice(
            incident=sent.incident, run=sent.run, step=sent.step, plan_digest=sent.plan_digest
        )


def test_without_chat_there_are_no_buttons(slack: Any, message: Any) -> None:
    CHANNEL.deliver(message(chat=False))

    assert interactive(content(slack.only)) == []


def test_webhook_has_no_buttons(webhook: Any, message: Any) -> None:
    CHANNEL.deliver(message(chat=True))

    assert interactive(content(webhook.only)) == []


def test_what_is_too_long_for_a_button_leaves_the_command(slack: Any, message: Any) -> None:
    CHANNEL.deliver(message(chat=True, step="s" * 2000, how="firedoor approve it"))

    body = content(slack.only)
    assert interactive(body) == []
    assert "firedoor approve it" in shown(body)


def test_people_are_called_by_their_id_only(slack: Any, message: Any) -> None:
    to = (
        Addressee(name="alice", slack="U012AB3CD"),
        Addressee(name="mallory", slack="!channel"),
        Addressee(name="bob"),
    )

    CHANNEL.deliver(message(to=to))

    called = [text["text"] for _, text in texts(content(slack.only)["blocks"]) if "@" in str(text)]
    assert called == ["<@U012AB3CD>"]


HOSTILE = "<!channel> <https://evil.example|AWS> *bold* & \u202egnp.exe \x1b[2J\x00 </b>"


def test_names_of_an_attacked_account_do_not_act(slack: Any, message: Any) -> None:
    CHANNEL.deliver(
        message(
            to=(), incident=HOSTILE, step=HOSTILE, subject=HOSTILE, title=HOSTILE, text=HOSTILE,
            plans=(HOSTILE,), blast_radius=(HOSTILE,), lost=(HOSTILE,), how=HOSTILE, chat=True,
        )
    )  # fmt: skip

    body = content(slack.only)
    kinds = {text["type"] for _, text in texts(body["blocks"])}
    everything = body["text"] + "".join(text["text"] for _, text in texts(body["blocks"]))
    assert kinds == {"plain_text"}
    assert not set("<>\u202e\x1b\x00") & set(everything)
    assert shown(body).count("<!channel>") == 9
    assert "\\u202egnp.exe" in everything


def test_flood_of_text_is_cut_and_what_decides_is_not(
    slack: Any, message: Any, said: tuple[str, ...]
) -> None:
    many = tuple(f"{n} {'&<>' * 1000}" for n in range(1000))
    to = tuple(Addressee(name=str(n), slack=f"U{n:010}") for n in range(1000))

    CHANNEL.deliver(
        message(
            title="&" * 5000, text="\n" * 50 + "y" * 10**6, plans=many, blast_radius=many,
            lost=many, to=to, chat=True,
        )
    )  # fmt: skip

    body = content(slack.only)
    assert [one for one in said[4:] if one not in shown(body)] == []
    assert len(interactive(body)) == 2


def refuse(slack: Any, error: str) -> None:
    slack.answers((200, json.dumps({"ok": False, "error": error}).encode()))


@pytest.mark.parametrize("error", ["ratelimited", "internal_error", "service_unavailable"])
def test_error_of_slack_itself_is_tried_again(error: str, slack: Any, message: Any) -> None:
    refuse(slack, error)

    with pytest.raises(Busy, match=error):
        CHANNEL.deliver(message())


@pytest.mark.parametrize(
    ("error", "setting"),
    [
        ("invalid_auth", "FIREDOOR_SLACK_TOKEN"),
        ("token_revoked", "FIREDOOR_SLACK_TOKEN"),
        ("missing_scope", "FIREDOOR_SLACK_TOKEN"),
        ("channel_not_found", "FIREDOOR_SLACK_CHANNEL"),
        ("not_in_channel", "FIREDOOR_SLACK_CHANNEL"),
    ],
)
def test_error_that_a_setting_causes_names_it(
    error: str, setting: str, slack: Any, message: Any
) -> None:
    refuse(slack, error)

    with pytest.raises(BadInput, match=rf"{setting}.*\({error}\)"):
        CHANNEL.deliver(message())


@pytest.mark.parametrize("error", ["invalid_blocks", "some_new_error", f"with {TOKEN}", ""])
def test_other_errors_are_not_tried_again(error: str, slack: Any, message: Any) -> None:
    refuse(slack, error)

    with pytest.raises(Refused) as found:
        CHANNEL.deliver(message())

    assert TOKEN not in str(found.value)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"null", b"{}", b'{"ok": "true"}', b"\xff"])
def test_answer_that_is_not_slacks_is_no_success(answer: bytes, slack: Any, message: Any) -> None:
    slack.answers((200, answer))

    with pytest.raises(Refused):
        CHANNEL.deliver(message())


def test_webhook_that_was_taken_away_says_so(webhook: Any, message: Any) -> None:
    webhook.answers((404, b"no_service"))

    with pytest.raises(Refused, match="HTTP 404: no_service"):
        CHANNEL.deliver(message())


def test_bot_needs_a_channel(use: Any) -> None:
    use(slack_token=TOKEN)

    with pytest.raises(BadInput, match="FIREDOOR_SLACK_CHANNEL"):
        CHANNEL.check()


@pytest.mark.parametrize("token", ["xoxb-1\nX-Header: 1", "xoxb-é", "xoxb 1"])
def test_token_that_is_no_header_is_not_used(token: str, use: Any, slack: Any) -> None:
    use(slack_token=token)

    with pytest.raises(BadInput, match="FIREDOOR_SLACK_TOKEN") as found:
        CHANNEL.check()

    assert token not in str(found.value)
