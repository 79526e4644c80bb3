"""The seed's four questions, answered with flowlogs-reader: `python bench/flowlogs.py FILE...`."""

import gzip
import json
import sys
from collections import Counter

from flowlogs_reader import FlowRecord

NEAR = ("10.", "172.16.", "192.168.")


def main(files: list[str]) -> None:
    """Count what the questions ask for."""
    rejected: Counter[tuple[str, str, int]] = Counter()
    outbound: Counter[tuple[str, str]] = Counter()
    large: Counter[tuple[str, str]] = Counter()
    ssh: Counter[str] = Counter()
    rows = 0
    for file in files:
        with gzip.open(file, "rt") as lines:
            names = [name.replace("-", "_") for name in next(lines).split()]
            for line in lines:
                record = FlowRecord(dict(zip(names, line.split(), strict=True)))
                rows += 1
                if record.action == "REJECT":
                    rejected[record.srcaddr, record.dstaddr, record.dstport] += 1
                    ssh[record.srcaddr] += record.dstport == 22
                if not record.dstaddr.startswith(NEAR):
                    outbound[record.srcaddr, record.dstaddr] += record.bytes or 0
                if not record.dstaddr.startswith("10.") and (record.bytes or 0) > 100_000_000:
                    large[record.srcaddr, record.dstaddr] += record.bytes or 0
    found = [len(each) for each in (rejected, outbound, ssh, large)]
    print(json.dumps({"rows": rows, "found": found}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
