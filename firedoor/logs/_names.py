"""Columns of DNS names: the registrable domain, and how much a name looks made by a machine."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple

import pyarrow as pa
from tldextract import TLDExtract

from firedoor.logs._values import is_address

TEXT, WORD = pa.string(), pa.dictionary(pa.int32(), pa.string())

# How surprising each letter is after another, in half bits, as digits of base 36: a row for each
# letter before (first the beginning of a word), a column for each letter (first the end).
# Counted over the names of packages and the words of English documentation.
SURPRISE: Final = tuple(
    tuple(int(digit, 36) / 2 for digit in row)
    for row in (
        "z8a78a9abacc98ab7e978bbbeff", "8fa89gd9h9id796g8j776bddecf", "56ccd7fff7dh7df6ci89d8hhhcj",
        "77hde8fh6ak87dg59k9a7ahiiel", "56adb5bcg799bce7dkaaeagggdk", "59c9abddhfjg9a7dbf579fcdafh",
        "67fde89fg5jg6df6dl8b99igf9l", "59fce4fba7jjacb7ci7ad9ihgej", "55eee5fgi7jgdcf6dfbd89igjbk",
        "6aa899bajhje8958ahb87fbidjc", "93fee7hhf9gffdh8ddg4f8hdihj", "37deb5dbe6ifcddadkc9cbffjcj",
        "66fcb6ffj5ke8ch6cmg8b9fhibk", "65b8c6fei7if9ae77gfaebhhhbk", "58f987b7h9gcdfb9djg86cchfei",
        "7cb99gdahdfc89599k6a9acadgi", "67gdc6gfa7ke7eg8ak7babihi5l", "6aebceffgaji5dfdbeab93gdhhj",
        "56eab5edi7jbdbc7djc99bchial", "4af9a7fg98kccce99df96beeibk", "47fbf6eg87igcdg6dk89bbiehaj",
        "a99b98e9j8jf887f9l776hgicig", "66fce3fdh5kgddf9djecd9hihfl", "66edd5efa6jfbe96dk97cfjgfgk",
        "39ead9eff9hhcafb8idc5dhgeaj", "39cabbccfdgfaa9b7gb86dfefhe", "67ece4egb8geccd7dhedc9hff99",
    )
)  # fmt: skip
ODD: Final = re.compile(r"[^\w.-]")
LETTERS: Final = re.compile("[a-z]+")
CONSONANTS: Final = re.compile("[bcdfghjklmnpqrstvwxz]+")

# Of a logistic regression: half of its labels are package names, the others are random letters,
# letters and digits, hexadecimal and base 32. Of 20,000 others of each kind, 0.8 is passed by 93 %
# of the random ones and by 0.5 % of the names. How many vowels there are follows from the letters.
INTERCEPT: Final = -26.77
OF_SURPRISE: Final = 4.435  # a bit a letter
OF_CHANGES: Final = 17.42  # from letter to digit or back, a character
OF_CONSONANTS: Final = 0.730  # in one run, beyond four
OF_LENGTH: Final = 5.80  # of 24 characters
MANY: Final = 4
LONG: Final = 24
# Short names are abbreviations: from 3 to 8 characters the score counts more and more.
SHORT, ENOUGH = 3, 8


class Name(NamedTuple):
    """What is known of one name."""

    hostname: str | None
    domain: str | None = None
    suffix: str | None = None
    subdomain: str | None = None
    entropy: float | None = None
    generated: float | None = None


def named(hostnames: Sequence[str | None] | pa.Array) -> dict[str, pa.Array]:
    """Return the columns hostname, domain, suffix, subdomain, entropy and generated.

    A hostname is in lower case without its final dot; `.`, the root, stays. The registrable domain
    is that of the Public Suffix List, ICANN's part: null where a name has none, as a public suffix
    or a single label. An address has none either. Each distinct name is looked at once.
    """
    if not isinstance(hostnames, pa.Array | pa.ChunkedArray):
        hostnames = pa.array(hostnames, TEXT)
    if isinstance(hostnames, pa.ChunkedArray):
        hostnames = hostnames.combine_chunks()
    if not pa.types.is_dictionary(hostnames.type):
        hostnames = hostnames.dictionary_encode()
    known = [name(text) for text in hostnames.dictionary.to_pylist()]
    return {
        column: _spread([one[i] for one in known], type_, hostnames.indices)
        for i, (column, type_) in enumerate(
            {
                "hostname": TEXT,
                "domain": WORD,
                "suffix": WORD,
                "subdomain": TEXT,
                "entropy": pa.float64(),
                "generated": pa.float64(),
            }.items()
        )
    }


@lru_cache(maxsize=1 << 15)
def name(text: str | None) -> Name:
    """Return what is known of one name."""
    if not text:
        return Name(None)
    hostname = text.lower()
    hostname = hostname.removesuffix(".") or hostname
    labels = hostname.split(".")
    may_be_address = labels[-1].isdigit() or ":" in hostname
    if hostname == "." or (may_be_address and is_address(hostname)):
        return Name(hostname)
    # What looks for the suffix takes apart URLs, and a name may hold any character.
    suffix = _list().extract_str(ODD.sub("x", hostname)).suffix
    # `internal` and others that the list does not have are suffixes by its own last rule.
    length = suffix.count(".") + 1
    before, public = labels[:-length], labels[-length:]
    label = before[-1] if before else ""
    return Name(
        hostname,
        ".".join([label, *public]) if label else None,
        public[-1],
        ".".join(before[:-1]) or None,
        entropy("".join(before)),
        generated(label),
    )


def entropy(text: str) -> float | None:
    """Return the Shannon entropy of a text in bits a letter."""
    if not text:
        return None
    length = len(text)
    shares = [count / length for count in Counter(text).values()]
    return round(-sum(share * math.log2(share) for share in shares), 4) + 0.0


@lru_cache(maxsize=1 << 15)
def generated(label: str) -> float | None:
    """Return from 0 to 1 how unlike a word of people a label is.

    It is null of what has no letters, and of an internationalised label, whose letters are others.
    """
    words = LETTERS.findall(label)
    if not words or label.startswith("xn--"):
        return None
    surprise = [
        SURPRISE[ord(before) - 96][ord(letter) - 96]
        for word in words
        for before, letter in pairwise(f"`{word}")
    ]
    changes = sum(
        one.isdigit() != other.isdigit()
        for one, other in pairwise(label)
        if "-" not in (one, other)
    )
    run = max(map(len, CONSONANTS.findall(label)), default=0)
    sum_ = (
        INTERCEPT
        + OF_SURPRISE * sum(surprise) / len(surprise)
        + OF_CHANGES * changes / len(label)
        + OF_CONSONANTS * max(0, run - MANY)
        + OF_LENGTH * min(len(label), LONG) / LONG
    )
    sure = min(1.0, max(0, len(label) - SHORT) / (ENOUGH - SHORT))
    return round(sure / (1 + math.exp(-sum_)), 4)


@cache
def _list() -> TLDExtract:
    """Return the Public Suffix List as it came with the package: nothing is fetched."""
    return TLDExtract(suffix_list_urls=(), cache_dir=None)


def _spread(values: list[Any], type_: pa.DataType, indices: pa.Array) -> pa.Array:
    """Return for each row the value of its distinct name."""
    if type_ != WORD:
        return pa.array(values, type_).take(indices)
    words = pa.array(values, TEXT).dictionary_encode()
    return pa.DictionaryArray.from_arrays(words.indices.take(indices), words.dictionary)
