"""What is told of a DNS name."""

import pyarrow as pa
import pytest

from firedoor.log_source import ARROW
from firedoor.logs._names import generated, name, named
from firedoor.relations import DNS_ACTIVITY


@pytest.mark.parametrize(
    ("hostname", "domain", "suffix", "subdomain"),
    [
        ("www.Example.COM.", "example.com", "com", "www"),
        ("a.b.example.co.uk", "example.co.uk", "uk", "a.b"),
        ("example.com", "example.com", "com", None),
        ("co.uk", None, "uk", None),
        ("com.", None, "com", None),
        ("db.corp.internal", "corp.internal", "internal", "db"),
        ("localhost", None, "localhost", None),
        ("bucket.s3.amazonaws.com", "amazonaws.com", "com", "bucket.s3"),
        ("_ldap._tcp.example.com.", "example.com", "com", "_ldap._tcp"),
        ("dGhpcw==.a@b/c?d#e.example.com.", "example.com", "com", "dghpcw==.a@b/c?d#e"),
        ("a..example.com", "example.com", "com", "a."),
        ("192.0.2.1", None, None, None),
        ("2001:db8::1", None, None, None),
        (".", None, None, None),
        (None, None, None, None),
    ],
)
def test_registrable_domain_is_by_the_public_suffix_list(
    hostname: str | None, domain: str | None, suffix: str | None, subdomain: str | None
) -> None:
    told = name(hostname)

    assert (told.domain, told.suffix, told.subdomain) == (domain, suffix, subdomain)


def test_name_is_in_lower_case_without_its_final_dot() -> None:
    assert [name(text).hostname for text in ("WWW.Example.com.", ".", "", None)] == [
        "www.example.com",
        ".",
        None,
        None,
    ]


def test_entropy_is_of_subdomain_and_label() -> None:
    assert name("ab.cd.example.invalid").entropy == pytest.approx(3.0958, abs=1e-4)
    assert name("aaaa.com").entropy == 0
    assert name("abcd.com").entropy == 2
    assert name("com").entropy is None


@pytest.mark.parametrize(
    "label",
    ["google", "microsoftonline", "amazonaws", "cloudflare", "githubusercontent", "windowsupdate",
     "stackoverflow", "office365", "strengths", "rhythms", "example", "my-flower-shop", "xkcd",
     "gvt1", "1e100"],
)  # fmt: skip
def test_words_of_people_do_not_look_generated(label: str) -> None:
    score = generated(label)

    assert score is not None
    assert score < 0.5


@pytest.mark.parametrize(
    "label",
    ["kqjhzvwplxm", "xjqzkvbnwtrp", "a8f3k2l9q0z7", "3f7a9c21bd44", "vaxhqmjq", "qxvbnmzlkj",
     "iuqerfsodp9ifjaposdfjhgosurijfaewrwergwea"],
)  # fmt: skip
def test_random_letters_look_generated(label: str) -> None:
    score = generated(label)

    assert score is not None
    assert score > 0.9


def test_what_cannot_be_judged_is_null() -> None:
    assert [generated(label) for label in ("", "10", "xn--bcher-kva")] == [None, None, None]


def test_rows_are_as_many_as_names_and_of_the_relation() -> None:
    columns = named(["a.example.com", None, "A.example.com.", "b.example.com"])

    assert columns["hostname"].to_pylist() == [
        "a.example.com", None, "a.example.com", "b.example.com"
    ]  # fmt: skip
    assert columns["domain"].to_pylist() == ["example.com", None, "example.com", "example.com"]
    assert {name: array.type for name, array in columns.items()} == {
        name: ARROW[DNS_ACTIVITY[name].type] for name in columns
    }


def test_an_array_is_read_as_a_list_is() -> None:
    names = ["a.example.com", None, "b.example.com"]

    for array in (
        pa.array(names),
        pa.array(names).dictionary_encode(),
        pa.chunked_array([names[:1], names[1:]], pa.string()),
        pa.chunked_array([names[:1], names[1:]], pa.string()).dictionary_encode(),
        pa.array([], pa.string()),
    ):
        expected = named(array.to_pylist())
        assert {k: v.to_pylist() for k, v in named(array).items()} == {
            k: v.to_pylist() for k, v in expected.items()
        }
