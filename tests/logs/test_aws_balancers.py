"""Lines of load balancers that are not as most are."""

import io
from typing import Any

import pytest

from firedoor.lake.objects import Reading
from firedoor.log_source import Place

TARGETS = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/web/0a1b"
ALB = (
    "http 2026-01-02T03:04:05.678901Z app/web/50dc6c495c0c9188 192.0.2.10:2817 10.0.0.1:80 "
    '0.000 0.001 0.000 200 200 34 366 "GET http://www.example.com:80/ HTTP/1.1" "curl/7.46.0" - - '
    f'{TARGETS} "Root=1-5833" "-" "-" 0 2026-01-02T03:04:05.600000Z'
)


def read(*lines: str) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Return the rows of lines, and the refused ones."""
    content = "".join(f"{line}\n" for line in lines).encode()
    [parsed] = Reading(io.BytesIO(content), Place("alb.log"))
    rows = parsed.tables["http_activity"].to_pylist()
    return rows, [(one.number, one.reason) for one in parsed.refused]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("GET http://EXAMPLE.com:80/a?b HTTP/1.1", ("GET", "example.com", "/a", "b")),
        ("GET http://example.com/a b?c d HTTP/1.1", ("GET", "example.com", "/a b", "c d")),
        ("GET https://[2001:db8::1]:443/ HTTP/2.0", ("GET", "[2001:db8::1]", "/", None)),
        ("GET http://example.com:80/x?u=http://a/?b HTTP/1.1",
         ("GET", "example.com", "/x", "u=http://a/?b")),
        ("OPTIONS * HTTP/1.1", ("OPTIONS", None, "*", None)),
        ("- http://example.com:80- -", (None, "example.com", None, None)),
        ("- - - ", (None, None, None, None)),
        (r"GET http://example.com:80/\"q\" HTTP/1.1", ("GET", "example.com", '/"q"', None)),
    ],
)  # fmt: skip
def test_request_is_taken_apart(request_: str, expected: tuple[str | None, ...]) -> None:
    [row], refused = read(ALB.replace("GET http://www.example.com:80/ HTTP/1.1", request_))

    assert refused == []
    assert (row["method"], row["host"], row["path"], row["query"]) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("bogus", "1 columns, expected 22"),
        (ALB.replace(" 366 ", " many "), "sent: expected a whole number, not many"),
        (ALB.replace("2026-01-02T03:04:05.678901Z", "then"), "time: not then"),
        (ALB.replace('"-" 0', '"- 0'), "a quote is not closed"),
    ],
)
def test_bad_line_is_refused_alone(line: str, reason: str) -> None:
    rows, refused = read(ALB, line, ALB)

    assert (len(rows), refused) == (2, [(2, reason)])


def test_address_that_is_none_is_null() -> None:
    rows, refused = read(ALB.replace("192.0.2.10:2817", "192.0.2.256:2817"), ALB)

    assert ([row["src_ip"] for row in rows], refused) == ([None, "192.0.2.10"], [])


def test_line_without_target_group_is_of_the_account_of_the_others() -> None:
    rows, _ = read(ALB.replace(TARGETS, "-"), ALB)

    assert [(row["account"], row["region"]) for row in rows] == [
        ("123456789012", "eu-central-1")
    ] * 2


def test_certificate_of_iam_tells_the_account_only() -> None:
    line = (
        "tls 2.0 2026-01-02T03:04:05 net/edge/c6e7 g3d4 192.0.2.10:51341 10.0.0.185:443 5 2 98 0 - "
        "arn:aws:iam::123456789012:server-certificate/edge - ECDHE tlsv12 - -"
    )

    [parsed] = Reading(io.BytesIO(line.encode()), Place("nlb.log", region="eu-central-1"))

    [row] = parsed.tables["network_activity"].to_pylist()
    assert (row["account"], row["region"]) == ("123456789012", "eu-central-1")


def test_columns_of_several_versions_may_be_in_one_object() -> None:
    rows, refused = read(
        ALB, f'{ALB} "waf" "-" "-"', f'{ALB} "forward" "-" "-" "-" "-" "-" "-" T x'
    )

    assert ([row["action"] for row in rows], refused) == (["Allowed", "Denied", "Allowed"], [])
