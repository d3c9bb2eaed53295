"""A finished table before it is written, and the flattening of result records into its CSV lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitprobe.report.spread import Mean

Flat = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """``rows``: row name to the few numbers of its JSON; ``lines``: the CSV's lines; ``markdown``: the page."""

    rows: Mapping[str, Flat]
    lines: Sequence[Flat]
    markdown: str


def flat(prefix: str, record: Mapping) -> Flat:
    """The record's own numbers, texts and flags under ``<prefix><key>``; nested records and reasons are left out."""
    own = {k: v for k, v in record.items() if not isinstance(v, Mapping | list) and not k.endswith("_reason")}
    return spread({f"{prefix}{key}": value for key, value in own.items()})


def spread(record: Mapping) -> Flat:
    """The record with ``<key>_sd`` and ``<key>_n`` behind each mean over seeds."""
    out: Flat = {}
    for key, value in record.items():
        out[key] = value
        if isinstance(value, Mean):
            out |= {f"{key}_sd": value.sd, f"{key}_n": value.n}
    return out


def reasons(prefix: str, record: Mapping) -> list[str]:
    """Why values of the record are absent, as ``<prefix><key>: <reason>``."""
    return [f"{prefix}{k.removesuffix('_reason')}: {v}" for k, v in record.items() if k.endswith("_reason")]


def columns(lines: Sequence[Mapping]) -> list[str]:
    """All keys of all lines, in order of first appearance."""
    return list(dict.fromkeys(key for line in lines for key in line))


def small(record: Mapping[str, Any]) -> Flat:
    """A row's JSON: absent values dropped (the CSV has their reasons), six digits, so that diffs stay readable."""
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in spread(record).items() if v is not None}
