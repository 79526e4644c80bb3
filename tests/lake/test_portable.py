"""SQL that is taken means the same to both engines; what could not is refused, and why is said."""

import pytest
import sqlglot

from firedoor.errors import BadQuery
from firedoor.lake import portable
from firedoor.lake.duck import Duck

FLOWS = "FROM network_activity"
FUNCTION = "expected a function that both engines have, with the same answer"
OTHERWISE = "expected what both engines know"

TAKEN = {
    "a CTE and a join": f"""
        WITH sums AS (
            SELECT src_key, sum(bytes) AS bytes {FLOWS}
            WHERE time >= :since AND time < :until GROUP BY src_key HAVING sum(bytes) > :bytes
        )
        SELECT d.hostname, s.bytes FROM sums AS s JOIN dns_activity d ON d.src_key = s.src_key
        ORDER BY bytes DESC LIMIT 10
    """,
    "UNION ALL": f"SELECT time {FLOWS} UNION ALL SELECT time FROM dns_activity ORDER BY time",
    "windows": f"""
        SELECT time - lag(time) OVER (PARTITION BY src_key ORDER BY time) AS gap,
               row_number() OVER (PARTITION BY src_key ORDER BY time, bytes) AS number,
               sum(bytes) OVER (ORDER BY time ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS bytes
        {FLOWS}
    """,
    "CASE": f"SELECT CASE WHEN bytes > 9 THEN 'much' ELSE 'little' END AS size {FLOWS}",
    "FILTER": f"SELECT count(*) FILTER (WHERE action = 'Denied') AS denied {FLOWS}",
    "EXISTS": f"""
        SELECT n.src_key {FLOWS} AS n
        WHERE EXISTS (SELECT 1 AS one FROM http_activity AS h WHERE h.src_key = n.src_key)
    """,
    "IN of a query": f"SELECT time {FLOWS} WHERE dst_key IN (SELECT src_key FROM http_activity)",
    "USING": f"SELECT src_key, hostname {FLOWS} JOIN dns_activity USING (src_key)",
    "a query in FROM": f"SELECT max(x.n) AS n FROM (SELECT count(*) AS n {FLOWS}) AS x",
    "real division": f"SELECT CAST(sum(bytes) AS DOUBLE) / count(*) AS size {FLOWS}",
    "division of an average": f"SELECT stddev_pop(bytes) / nullif(avg(bytes), 0) AS cv {FLOWS}",
    "an hour without division": f"SELECT time - time % 3600000 AS hour {FLOWS}",
    "LIKE on what is no address": f"SELECT rule {FLOWS} WHERE rule LIKE 'acl!_%' ESCAPE '!'",
    "negations": f"""
        SELECT time {FLOWS} WHERE rule NOT LIKE 'a%' AND bytes NOT BETWEEN 1 AND 2
          AND rule IS NOT NULL AND dst_port NOT IN (22, 3389) AND NOT src_inside
    """,
    "null-safe comparison": f"SELECT time {FLOWS} WHERE action IS DISTINCT FROM 'Denied'",
    "texts put together": f"SELECT CAST(dst_port AS VARCHAR) || '/' || rule AS name {FLOWS}",
    "upper case": "SELECT Time FROM Network_Activity;",
    "comments": f"SELECT time -- :not a parameter, 5 // 2\n{FLOWS} /* :neither */",
}  # fmt: skip

REFUSED = {
    # functions
    "SELECT now() AS n FROM network_activity": f"now: {FUNCTION}",
    f"SELECT time {FLOWS} WHERE time > date_add('hour', -24, now())": f"date_add: {FUNCTION}",
    f"SELECT current_timestamp AS n {FLOWS}": f"CURRENT_TIMESTAMP: {FUNCTION}",
    f"SELECT contains('10.0.0.0/8', src_ip) AS own {FLOWS}": f"contains: {FUNCTION}",
    f"SELECT ipaddress(src_ip) AS a {FLOWS}": f"ipaddress: {FUNCTION}",
    f"SELECT regexp_like(rule, 'x') AS a {FLOWS}": f"regexp_like: {FUNCTION}",
    f"SELECT greatest(time, end_time) AS a {FLOWS}": f"greatest: {FUNCTION}",
    f"SELECT concat(src_ip, rule) AS a {FLOWS}": f"concat: {FUNCTION}",
    f"SELECT ifnull(src_ip, rule) AS a {FLOWS}": f"ifnull: {FUNCTION}",
    f"SELECT any_value(src_ip) AS a {FLOWS}": f"any_value: {FUNCTION}",
    f"SELECT if(bytes > 1, 2, 3) AS a {FLOWS}": f"if: {FUNCTION}",
    f"SELECT nonsense(bytes) AS a {FLOWS}": f"nonsense: {FUNCTION}",
    f"SELECT max(bytes, 3) AS a {FLOWS}": OTHERWISE,
    f"SELECT count(DISTINCT time, bytes) AS a {FLOWS}": "expected one expression to count",
    "SELECT a FROM read_csv('/etc/passwd')": f"read_csv: {FUNCTION}",
    f"SELECT count(*) FILTER (WHERE bytes > 1) OVER (PARTITION BY account) AS a {FLOWS}":
        "Athena knows no FILTER and no DISTINCT in windows",
    f"SELECT count(DISTINCT bytes) OVER (PARTITION BY account) AS a {FLOWS}":
        "Athena knows no FILTER and no DISTINCT in windows",
    # addresses
    f"SELECT time {FLOWS} WHERE src_ip LIKE '10.%'": "addresses are compared by their keys",
    f"SELECT time {FLOWS} WHERE dst_ip NOT LIKE '10.%'": "addresses are compared by their keys",
    f"SELECT time {FLOWS} WHERE lower(src_ip) LIKE '10.%'": "addresses are compared by their keys",
    f"SELECT time {FLOWS} WHERE rule ILIKE 'a%'": "Athena has no ILIKE: compare lower(...)",
    f"SELECT time {FLOWS} WHERE rule ~ 'a'": FUNCTION,
    # arithmetic and types
    f"SELECT bytes / packets AS size {FLOWS}": "Athena divides whole numbers without a rest",
    f"SELECT bytes / 1000 AS size {FLOWS}": "Athena divides whole numbers without a rest",
    f"SELECT time // 1000 AS size {FLOWS}": "subtract the rest",
    f"SELECT 2 ^ 3 AS size {FLOWS}": FUNCTION,
    f"SELECT time::BIGINT AS a {FLOWS}": "Athena knows only CAST(... AS ...)",
    f"SELECT CAST(time AS TIMESTAMP) AS a {FLOWS}": "expected a cast to one of BIGINT, DOUBLE",
    f"SELECT CAST(time AS INT) AS a {FLOWS}": "expected a cast to one of BIGINT, DOUBLE",
    f"SELECT time + INTERVAL 1 DAY AS a {FLOWS}": OTHERWISE,
    f"SELECT time {FLOWS} WHERE bytes == 1": "Athena compares with one =",
    f"SELECT time {FLOWS} WHERE src_inside IS TRUE": "Athena knows only IS NULL and IS NOT NULL",
    f"SELECT time {FLOWS} WHERE time > '2026-01-31'": "Athena does not compare number and text",
    f"SELECT time {FLOWS} WHERE account = 123456789012": "Athena does not compare number and text",
    f"SELECT time {FLOWS} WHERE account IN (1, 2)": "Athena does not compare number and text",
    f"SELECT time {FLOWS} WHERE src_inside = 1": "Athena does not compare flag and number",
    # what is asked of what
    f"SELECT * {FLOWS}": "*: name the columns",
    f"SELECT n.* {FLOWS} AS n": "name the columns",
    f"SELECT count(*) {FLOWS}": "each engine names it otherwise: add AS and a name",
    f"SELECT bytes + 1 {FLOWS}": "each engine names it otherwise: add AS and a name",
    f"SELECT time, bytes AS time {FLOWS}": "expected a name that no other column",
    "SELECT srcaddr FROM vpc_flow_logs": "vpc_flow_logs: expected a relation, one of network_act",
    "SELECT time FROM 'x.parquet'": '"x.parquet": expected a relation',
    "SELECT time FROM other.network_activity": OTHERWISE,
    f"SELECT srcaddr {FLOWS}": "srcaddr: there is no such column",
    f"SELECT x.time {FLOWS} AS n": "x.time: there is no x here",
    f"SELECT n.srcaddr {FLOWS} AS n": "n.srcaddr: there is no such column",
    f"WITH a AS (SELECT time {FLOWS}) SELECT bytes FROM a": "bytes: there is no such column",
    "SELECT n.time FROM network_activity n JOIN dns_activity d ON src_key = 1":
        "src_key: it could be of n or d: write whose it is",
    f"SELECT count(*) AS n {FLOWS} HAVING n > 2": "Athena knows a name of the answer only in ORD",
    f"SELECT bytes AS n {FLOWS} WHERE n > 2": "Athena knows a name of the answer only in ORDER BY",
    f"SELECT bytes AS n, n + 1 AS m {FLOWS}": "Athena knows a name of the answer only in ORDER BY",
    f"SELECT time AS values {FLOWS}": "values is a reserved word in Athena",
    f"SELECT time {FLOWS} WHERE time = $1": "expected a parameter, as :name",
    # what only DuckDB has
    f"{FLOWS} SELECT time": "FROM: Athena expects SELECT first",
    FLOWS: "FROM",
    f"SELECT time, {FLOWS}": "Athena takes no comma at the end of a list",
    f"SELECT time {FLOWS} LIMIT 3 OFFSET 2": OTHERWISE,
    f"SELECT DISTINCT ON (time) time {FLOWS}": OTHERWISE,
    f"SELECT time {FLOWS} GROUP BY ALL": OTHERWISE,
    f"SELECT time {FLOWS} ORDER BY ALL": OTHERWISE,
    f"SELECT time {FLOWS} QUALIFY rank() OVER () = 1": OTHERWISE,
    f"SELECT time {FLOWS} TABLESAMPLE 10%": OTHERWISE,
    f"SELECT time {FLOWS} UNION ALL BY NAME SELECT time FROM dns_activity": OTHERWISE,
    "SELECT n.time FROM network_activity n NATURAL JOIN dns_activity d": OTHERWISE,
    "SELECT n.time FROM network_activity n SEMI JOIN dns_activity d ON n.time = d.time":
        "expected a join that both engines know, not SEMI",
    "WITH RECURSIVE a AS (SELECT 1 AS x) SELECT x FROM a": OTHERWISE,
    f"WITH a AS MATERIALIZED (SELECT time {FLOWS}) SELECT time FROM a": FUNCTION,
    f"SELECT [time] AS a {FLOWS}": FUNCTION,
    # no question at all
    "DROP TABLE network_activity": "DROP TABLE network_activity: expected a SELECT",
    f"CREATE TABLE a AS SELECT time {FLOWS}": "expected a SELECT",
    "INSERT INTO network_activity SELECT 1 AS time": "expected a SELECT",
    "COPY network_activity TO '/tmp/x'": "expected a SELECT",
    "ATTACH 'x'": "expected a SELECT",
    "PRAGMA database_list": "expected a SELECT",
    f"SELECT time {FLOWS}; DROP TABLE network_activity": "expected one statement, not 2",
    "": "expected one statement, not 0",
    "SELECT (SELECT": "expected SQL:",
    "what is this": "query:",
}  # fmt: skip


@pytest.mark.parametrize("sql", TAKEN.values(), ids=TAKEN)
def test_what_both_engines_understand_alike_is_taken_and_runs(sql: str) -> None:
    portable.check(sql)

    params = dict.fromkeys(portable.parameters(sql), 1)
    with Duck() as duck:
        assert duck.ask(sql, params).num_columns > 0
    assert sqlglot.parse(portable.bound(sql, params), read="trino")
    assert sqlglot.parse(portable.bound(sql, params), read="athena")


@pytest.mark.parametrize(("sql", "expected"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_they_do_not_is_refused_and_why_is_said(sql: str, expected: str) -> None:
    with pytest.raises(BadQuery) as refused:
        portable.check(sql)

    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"SELECT time {FLOWS}", {"network_activity": {"time"}}),
        (f"SELECT count(*) AS n {FLOWS}", {"network_activity": set()}),
        (
            f"SELECT count(*) AS bytes {FLOWS} WHERE dst_port = 22 ORDER BY bytes",
            {"network_activity": {"dst_port"}},
        ),
        (
            "SELECT n.time FROM network_activity n JOIN dns_activity d ON n.src_key = d.src_key"
            " WHERE hostname = 'time'",
            {
                "network_activity": {"time", "src_key"},
                "dns_activity": {"src_key", "hostname"},
            },
        ),
        (
            f"WITH a AS (SELECT src_key AS time, bytes {FLOWS}) SELECT time, bytes AS port FROM a",
            {"network_activity": {"src_key", "bytes"}},
        ),
        (
            f"SELECT src_key {FLOWS} JOIN dns_activity USING (src_key)",
            {"network_activity": {"src_key"}, "dns_activity": {"src_key"}},
        ),
        (
            f"SELECT bytes {FLOWS} WHERE src_key IN (SELECT dst_key FROM http_activity)",
            {"network_activity": {"bytes", "src_key"}, "http_activity": {"dst_key"}},
        ),
        (
            f"SELECT sum(bytes) OVER (PARTITION BY account ORDER BY day) AS a {FLOWS}",
            {"network_activity": {"bytes", "account", "day"}},
        ),
        (
            f"WITH network_activity AS (SELECT time {FLOWS}) SELECT time FROM network_activity",
            {"network_activity": {"time"}},
        ),
        ("SELECT Time FROM Network_Activity AS N WHERE N.Bytes > 1",
         {"network_activity": {"time", "bytes"}}),
    ],
)  # fmt: skip
def test_columns_are_those_that_are_looked_at(sql: str, expected: dict[str, set[str]]) -> None:
    portable.check(sql)
    assert portable.columns(sql) == expected


def test_an_asterisk_looks_at_all_columns() -> None:
    found = portable.columns("SELECT n.*, d.time FROM network_activity n, dns_activity d")

    assert {"subnet", "rule", "packets"} <= found["network_activity"]
    assert found["dns_activity"] == {"time"}


def test_parameters_are_named_outside_of_texts_and_comments() -> None:
    sql = """SELECT ':a' AS x, "b:c" AS y, time -- :d\n /* :e */ FROM t WHERE time>:since2::f"""

    assert portable.parameters(sql) == {"since2"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, "5"),
        (-5, "(-5)"),
        (0.5, "0.5e0"),
        (1e-9, "1e-09"),
        (True, "TRUE"),
        ("it's :x", "'it''s :x'"),
        ("'; DROP TABLE x; --", "'''; DROP TABLE x; --'"),
    ],
)
def test_a_parameter_is_written_as_a_literal(value: portable.Value, expected: str) -> None:
    assert portable.bound("a = :v", {"v": value}) == f"a = {expected}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_without_literal_is_refused(value: float) -> None:
    with pytest.raises(BadQuery, match="expected a finite number"):
        portable.bound("a = :v", {"v": value})


def test_a_parameter_that_is_not_given_is_named() -> None:
    with pytest.raises(BadQuery, match="query: :until: expected a parameter, but it is not given"):
        portable.bound("time < :until", {})


def test_a_negative_parameter_after_a_minus_begins_no_comment() -> None:
    with Duck() as duck:
        answer = duck.ask("SELECT 1 -:v AS x", {"v": -2}).to_pylist()

    assert answer == [{"x": 3}]
