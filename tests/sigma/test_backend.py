"""What a Sigma rule means, the SQL that we make of it tells, and the reference evaluator too."""

import json
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from sigma.collection import SigmaCollection
from sigma.exceptions import SigmaError
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule
from sigma_backend_duckdb import DuckDBBackend  # type: ignore[import-untyped]

from firedoor.lake.duck import Duck
from firedoor.sigma import flat, oracle
from firedoor.sigma.backend import Columns, sql
from firedoor.sigma.fields import LOGS, Log, folded
from firedoor.sigma.running import asked

ANY = Log("any")


def rule(detection: str) -> SigmaRule:
    """Return a rule with a detection as YAML; its condition is `selection` where it has none."""
    told = {"condition": "selection"} | yaml.safe_load(detection)
    document = {"title": "A rule", "logsource": {"product": "aws"}, "detection": told}
    found = SigmaCollection.from_dicts([document]).rules[0]
    assert isinstance(found, SigmaRule)
    return found


def matched(one: SigmaRule, records: list[Any], duck: Duck, log: Log = ANY) -> list[int]:
    """Return which records a rule matches, after the SQL."""
    columns = Columns()
    condition = sql(one, columns)
    raws = [json.dumps(record) for record in records]
    table, lists = flat.table(raws, log, columns)
    if lists:
        condition = sql(one, Columns(lists, columns.names))
    duck.put({"flat": table})
    return asked(condition, duck)


MEANINGS: list[tuple[str, str, list[Any], list[Any]]] = [
    ("any case", "selection: {a: 'No'}", [{"a": "NO"}, {"a": "no"}], [{"a": "None"}, {}]),
    ("beyond ASCII", "selection: {a: ÄÉ}", [{"a": "äé"}], [{"a": "ae"}]),
    ("letter for letter", "selection: {a: '\u0130\u03a3'}", [{"a": "i\u03c3"}], [{"a": "i\u03c2"}]),
    ("empty text", "selection: {a: ''}", [{"a": ""}], [{"a": None}, {}, {"a": "x"}]),
    ("several values", "selection: {a: [x, y]}", [{"a": "X"}, {"a": "y"}], [{"a": "z"}]),
    ("all fields", "selection: {a: x, b: y}", [{"a": "x", "b": "y"}], [{"a": "x"}, {"b": "y"}]),
    ("one of maps", "selection: [{a: x}, {b: y}]", [{"a": "x"}, {"b": "y"}], [{"a": "y"}]),
    ("wildcards", "selection: {a: 'x*y?'}",
     [{"a": "X--Yz"}, {"a": "x\ny_"}], [{"a": "xy"}, {"a": "xyzz"}]),
    ("escaped", r"selection: {a: 'x\*\?'}", [{"a": "x*?"}], [{"a": "xyz"}]),
    ("backslash", r"selection: {a: 'C:\\a?\*\\b%'}", [{"a": r"c:\az*\b%"}], [{"a": r"c:\azz\b%"}]),
    ("no wildcards of SQL", "selection: {a: 'x_%*?z'}", [{"a": "x_%yz"}], [{"a": "xx%yz"}]),
    ("anything", "selection: {a: '*'}", [{"a": ""}, {"a": 0}], [{"a": None}, {"a": []}]),
    ("one letter", "selection: {a: '?'}", [{"a": "é"}], [{"a": ""}, {"a": "xx"}]),
    ("contains", "selection: {a|contains: [bc, q]}", [{"a": "aBCd"}], [{"a": "acb"}]),
    ("contains all", "selection: {a|contains|all: [b, d]}", [{"a": "abcd"}], [{"a": "abc"}]),
    ("contains wildcard", "selection: {a|contains: 'b*d'}", [{"a": "ab--de"}], [{"a": "db"}]),
    ("starts", "selection: {a|startswith: Ab}", [{"a": "abc"}], [{"a": "cab"}]),
    ("ends", "selection: {a|endswith: Bc}", [{"a": "abc"}], [{"a": "bca"}]),
    ("cased", "selection: {a|cased: Ab}", [{"a": "Ab"}], [{"a": "ab"}]),
    ("cased contains", "selection: {a|cased|contains: Ab}", [{"a": "xAb"}], [{"a": "xab"}]),
    ("neq", "selection: {a|neq: x}", [{"a": "y"}, {}], [{"a": "X"}]),
    ("regex", "selection: {a|re: '^a.c'}", [{"a": "abcd"}], [{"a": "ABC"}, {"a": "a\nc"}, {}]),
    ("regex in any case", "selection: {a|re|i: '^a.c$'}", [{"a": "ABC"}], [{"a": "abcd"}]),
    ("regex over lines", "selection: {a|re|s: 'a.c'}", [{"a": "a\nc"}], [{"a": "a\n"}]),
    ("regex by lines", "selection: {a|re|m: '^b$'}", [{"a": "a\nb\nc"}], [{"a": "a\nbc"}]),
    ("regex with quote", "selection: {a|re: \"'[*?]\"}", [{"a": "'*"}], [{"a": "*"}]),
    ("IPv4", "selection: {a|cidr: 192.0.2.0/25}",
     [{"a": "192.0.2.127"}, {"a": "::ffff:192.0.2.1"}], [{"a": "192.0.2.128"}, {"a": "192.0.2.x"}]),
    ("IPv6", "selection: {a|cidr: '2001:db8::/33'}",
     [{"a": "2001:DB8:7fff::1"}], [{"a": "2001:db8:8000::"}, {"a": "32.1.13.184"}]),
    ("all IPv4", "selection: {a|cidr: 0.0.0.0/0}", [{"a": "203.0.113.9"}], [{"a": "::1"}]),
    ("exists", "selection: {a|exists: true}", [{"a": ""}, {"a": False}], [{}, {"a": None}]),
    ("exists not", "selection: {a|exists: false}", [{}, {"a": None}], [{"a": 0}]),
    ("null", "selection: {a: null}", [{}, {"a": None}, {"a": []}], [{"a": ""}]),
    ("null or value", "selection: {a: [null, x]}", [{}, {"a": "x"}], [{"a": "y"}]),
    ("number", "selection: {a: 5}", [{"a": 5}, {"a": "5"}, {"a": 5.0}], [{"a": 50}, {"a": True}]),
    ("fraction", "selection: {a: 0.5}", [{"a": 0.5}, {"a": "0.5"}], [{"a": 0}]),
    ("number as text", "selection: {a: '5'}", [{"a": 5}], [{"a": 55}]),
    ("truth", "selection: {a: true}", [{"a": True}, {"a": "True"}], [{"a": 1}, {"a": False}]),
    ("smaller", "selection: {a|lt: 10}", [{"a": 9}, {"a": "-3.5"}], [{"a": 10}, {"a": "9x"}, {}]),
    ("not larger", "selection: {a|lte: 10}", [{"a": 10}], [{"a": 11}, {"a": ""}]),
    ("larger", "selection: {a|gt: 9.5}", [{"a": 9.6}, {"a": "100"}], [{"a": 9}]),
    ("not smaller", "selection: {a|gte: 9}", [{"a": 9}], [{"a": 8.9}]),
    ("field", "selection: {a|fieldref: b}",
     [{"a": "X", "b": "x"}], [{"a": "x"}, {"a": "x", "b": "y"}]),
    ("field itself", "selection: {a|fieldref: a}", [{"a": "x"}], [{}]),
    ("field starts", "selection: {a|fieldref|startswith: b}",
     [{"a": "Xy", "b": "x"}], [{"a": "yx", "b": "x"}]),
    ("field ends", "selection: {a|fieldref|endswith: b}",
     [{"a": "yX", "b": "x"}], [{"a": "xy", "b": "x"}]),
    ("field contains", "selection: {a|fieldref|contains: b}",
     [{"a": "yXy", "b": "x"}], [{"a": "x", "b": "xy"}]),
    ("field of lists", "selection: {a|fieldref: b}",
     [{"a": ["x", "y"], "b": ["z", "Y"]}], [{"a": ["x"], "b": ["z", "q"]}]),
    ("hour", "selection: {a|hour: 5}",
     [{"a": "2026-01-31T05:59:59Z"}],
     [{"a": "2026-01-31T15:05:05Z"}, {"a": "2026-13-31T05:00:00Z"}]),
    ("week", "selection: {a|week: 53}",
     [{"a": "2027-01-01T00:00:00Z"}], [{"a": "2027-01-04T00:00:00Z"}]),
    ("dashes", "selection: {a|windash|contains: ' -x'}",
     [{"a": "y /X"}, {"a": "y -x"}], [{"a": "yx"}]),
    ("base64", "selection: {a|base64: ab}", [{"a": "YWI="}], [{"a": "ab"}]),
    ("base64 anywhere", "selection: {a|base64offset|contains: foobar}",
     [{"a": "xxZvb2Jhcg=="}], [{"a": "foobar"}]),
    ("dots", "selection: {a.b.c: x}",
     [{"a": {"b": {"c": "x"}}}], [{"a": {"b": "x"}}, {"a": "x"}, []]),
    ("lists on the way", "selection: {a.b: x}",
     [{"a": [{"b": "y"}, {"b": ["x"]}]}], [{"a": [{"c": "x"}]}]),
    ("element", "selection: {a|endswith: x}", [{"a": ["y", "wx"]}], [{"a": ["xy", "y"]}]),
    ("elements together", "selection: {a|contains|all: [x, y]}",
     [{"a": ["x", "y"]}], [{"a": ["x", "z"]}]),
    ("network of elements", "selection: {a|cidr: 192.0.2.0/24}",
     [{"a": ["nothing", "192.0.2.1"]}], [{"a": ["nothing", "198.51.100.1"]}]),
    ("object as JSON", "selection: {a|contains: '\"b\":\"x\"'}",
     [{"a": {"b": "X"}}], [{"a": {"c": "x"}}]),
    ("not", "{selection: {a: x}, condition: not selection}", [{}, {"a": "y"}], [{"a": "X"}]),
    ("not of lists", "{selection: {a: x}, condition: not selection}",
     [{"a": ["y", "z"]}], [{"a": ["y", "x"]}]),
    ("not of not", "{selection: {a: x}, condition: not (not selection)}", [{"a": "x"}], [{}]),
    ("but not", "{selection: {a: x}, filter: {b: y}, condition: selection and not filter}",
     [{"a": "x"}, {"a": "x", "b": "z"}], [{"a": "x", "b": "Y"}]),
    ("one of", "{s_1: {a: x}, s_2: {b: y}, condition: 1 of s_*}", [{"b": "y"}], [{"a": "y"}]),
    ("all of", "{s_1: {a: x}, s_2: {b: y}, condition: all of s_*}",
     [{"a": "x", "b": "y"}], [{"b": "y"}]),
    ("all of them", "{s: {a: x}, t: {b: y}, condition: all of them}",
     [{"a": "x", "b": "y"}], [{"b": "y"}]),
    ("none of nothing", "{selection: {a: x}, condition: selection and not 1 of filter_*}",
     [{"a": "x"}], [{}]),
    ("several conditions", "{s: {a: x}, t: {b: y}, condition: [s, t]}",
     [{"a": "x"}, {"b": "y"}], [{}]),
    ("precedence", "{s: {a: x}, t: {b: y}, u: {c: z}, condition: s or t and u}",
     [{"a": "x"}, {"b": "y", "c": "z"}], [{"b": "y"}]),
    ("keyword", "selection: [Secret, other]", [{"a": {"b": ["my secret"]}}], [{"a": "secre"}]),
    ("keyword with wildcard", "selection: ['s*t']", [{"a": "the SORT is"}], [{"a": "ts"}]),
    ("keywords together", "selection: {'|all': [x1, y1]}", [{"a": "x1", "b": "y1"}], [{"a": "x1"}]),
    ("keyword as number", "selection: [4711]", [{"a": 4711}, {"a": "x4711"}], [{"a": 471}]),
    ("keyword as regex", "selection: {'|re': 'x[0-9]'}", [{"a": ["x7"]}], [{"a": "X7"}]),
    ("keyword escaped in JSON", "selection: ['a\"b/é']", [{"x": 'a"b/é'}], [{"x": "ab/é"}]),
    ("keyword in a name", "selection: [member]", [{"theMember": 1}], [{"x": "y"}]),
    ("no keyword", "{selection: [x1], condition: not selection}", [{"a": "y"}], [{"a": "x1"}]),
    ("injected", "selection: {a: \"x' OR TRUE --\"}", [{"a": "X' or true --"}], [{"a": "x"}]),
    ("injected pattern", "selection: {a: \"x'*y') OR ('1*\"}",
     [{"a": "x'--y') or ('1"}], [{"a": "x"}]),
    ("parameter in a value", "selection: {a: ':since'}", [{"a": ":since"}], [{"a": "x"}]),
    ("NUL", 'selection: {a: "x\\0y"}', [{"a": "x\0y"}], [{"a": "x"}, {"a": "xy"}]),
    ("injected field", "selection: {'a\" = 1 OR TRUE --': x}",
     [{'a" = 1 OR TRUE --': "x"}], [{"a": "x"}]),
    ("names in their case", "selection: {a: x, A: y}", [{"a": "x", "A": "y"}], [{"a": "x"}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("detection", "matching", "others"),
    [one[1:] for one in MEANINGS],
    ids=[one[0] for one in MEANINGS],
)
def test_sigma_means(detection: str, matching: list[Any], others: list[Any], duck: Duck) -> None:
    one = rule(detection)
    records = matching + others
    expected = list(range(len(matching)))

    assert matched(one, records, duck) == expected
    assert [n for n, r in enumerate(records) if oracle.matches(one, ANY, r)] == expected
    # Whether a field is a list elsewhere is of no account.
    for number, record in enumerate(records):
        assert matched(one, [record], duck) == [0] * (number < len(matching))


@pytest.mark.parametrize(
    ("detection", "record"),
    [
        ("selection: {a: 'NO'}", {"a": "No"}),
        ("{selection: {a: x}, filter: {b: y}, condition: selection and not filter}", {"a": "x"}),
    ],
)
def test_what_the_stock_backend_misses_is_matched(
    detection: str, record: dict[str, str], duck: Duck
) -> None:
    one = rule(detection)
    table = pa.table({name: pa.array([record.get(name)], pa.string()) for name in ("a", "b")})
    [query] = DuckDBBackend(ProcessingPipeline()).convert_rule(rule(detection))

    with duckdb.connect() as connection:
        connection.register("logs", table)
        assert connection.sql(query).fetchall() == []

    assert matched(one, [record], duck) == [0]
    assert oracle.matches(one, ANY, record)


@pytest.mark.parametrize(
    "detection", ["selection: {a|expand: '%users%'}", "selection: {a|re|expand: 'x%y%'}"]
)
def test_placeholder_is_refused(detection: str) -> None:
    with pytest.raises(SigmaError, match="placeholder"):
        sql(rule(detection), Columns())


@pytest.mark.parametrize(
    ("log", "detection", "record"),
    [
        (("azure", "activitylogs"), "selection: {operationName: MICROSOFT.X/Y/WRITE}",
         {"operationName": {"value": "Microsoft.X/y/write", "localizedValue": "Write"}}),
        (("azure", "activitylogs"), "selection: {OperationNameValue: Microsoft.X/Y/WRITE}",
         {"operationName": "MICROSOFT.X/Y/WRITE"}),
        (("azure", "activitylogs"), "selection: {ResourceProviderValue: Microsoft.X}",
         {"operationName": "MICROSOFT.X/Y/WRITE"}),
        (("azure", "activitylogs"), "selection: {Properties.Message: hello}",
         {"properties": {"message": "Hello"}}),
        (("gcp", "gcp.audit"), "selection: {gcp.audit.method_name: v1.x.insert}",
         {"protoPayload": {"methodName": "v1.X.insert"}}),
        (("gcp", "gcp.audit"),
         "selection: {gcp.audit.authentication_info.principal_email: a@example.com}",
         {"protoPayload": {"authenticationInfo": {"principalEmail": "a@example.com"}}}),
        (("gcp", "gcp.audit"), "selection: {data.protoPayload.status.code: 7}",
         {"protoPayload": {"status": {"code": 7}}}),
        (("gcp", "google_workspace.admin"),
         "selection: {eventService: admin.googleapis.com, eventName: X, new_value: 'false'}",
         {"protoPayload": {"serviceName": "admin.googleapis.com", "metadata": {"event": [
             {"eventName": "X", "parameter": [{"name": "NEW_VALUE", "value": "false"}]}]}}}),
    ],
)  # fmt: skip
def test_field_is_found_under_the_name_that_the_log_has_for_it(
    log: tuple[str, str], detection: str, record: Any, duck: Duck
) -> None:
    one = rule(detection)

    assert matched(one, [record, {"x": 1}], duck, LOGS[log]) == [0]
    assert oracle.matches(one, LOGS[log], record)


def test_record_that_is_nested_too_deep_is_matched_by_its_other_fields(duck: Duck) -> None:
    for depth in (100, 300, 450, 5000):
        deep = '{"b": [' * depth + "1" + "]}" * depth
        raws = [f'{{"a": "x", "b": {deep}}}', '{"a": "x"}']
        columns = Columns()
        condition = sql(rule("{s: {a: x}, other: [z1], condition: 1 of them}"), columns)
        table, _ = flat.table(raws, ANY, columns)
        duck.put({"flat": table})

        assert asked(condition, duck) == ([0, 1] if depth < 500 else [1])


def test_letters_are_folded_as_duckdb_does() -> None:
    letters = [chr(code) for code in range(1, 1 << 16) if not 0xD800 <= code < 0xE000]
    with duckdb.connect() as connection:
        connection.register("letters", pa.table({"letter": letters}))
        lower = connection.sql("SELECT lower(letter) FROM letters").fetchall()

    assert [one for [one] in lower] == [folded(letter) for letter in letters]
