"""Series in promtool's notation, a sample a minute, and the file that tests them. Knows no alert by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROUPS = ["diptych-rates", "diptych"]  # what is recorded comes first: alerts read it
Series = Mapping[str, str]


@dataclass(frozen=True)
class Edge:
    """Some series, of job `diptych` and instance `a` where they do not say, and what an alert makes of them.

    `states` are those at some minutes: "", "pending" or "firing". Without any, not even pending for an hour.
    """

    what: str
    series: Series
    states: Mapping[int, str]


NEVER: Mapping[int, str] = {}


def holds(since: int, lasts: int) -> dict[int, str]:
    """The states of an alert that has to hold for `lasts` minutes, and does from minute `since` on."""
    before = {since - 1: ""} if since else {}
    waits = {since: "pending", since + lasts - 1: "pending"} if lasts else {}
    return {**before, **waits, since + lasts: "firing"}


def requests(code: int, values: str, route: str = "/embed") -> Series:
    """Of the counter of answers."""
    return {f'diptych_requests_total{{route="{route}", code="{code}"}}': values}


def rejected(reasons: tuple[str, ...], values: str) -> Series:
    """Of the counter of refusals, the same for each of the reasons."""
    return {f'diptych_rejected_total{{reason="{reason}"}}': values for reason in reasons}


def answered(under_5_s: str, under_10_s: str, route: str = "/search") -> Series:
    """Of the histogram of seconds; all answers took more than 2.5 s."""
    counts = {"2.5": "0x60", "5.0": under_5_s, "10.0": under_10_s, "+Inf": under_10_s}
    return {f'diptych_request_seconds_bucket{{route="{route}", le="{le}"}}': n for le, n in counts.items()}


def served(instance: str, name: str, version: int, precision: str, values: str) -> Series:
    """Of what serves."""
    model = f'name="{name}", version="{version}", precision="{precision}"'
    return {f'diptych_model_info{{instance="{instance}", {model}}}': values}


def looked_up(*, misses: str, hits: str) -> Series:
    """Of the label cache."""
    return {
        'diptych_label_cache_total{result="miss"}': misses,
        'diptych_label_cache_total{result="hit"}': hits,
    }


def promtool_file(edges: Mapping[str, list[Edge]], rules: Path) -> dict[str, Any]:
    """What `promtool test rules` reads, of edges by the name of the alert."""
    return {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "group_eval_order": GROUPS,
        "tests": [_test_of(alert, edge) for alert, some in edges.items() for edge in some],
    }


def _test_of(alert: str, edge: Edge) -> dict[str, Any]:
    of_it = f'ALERTS{{alertname="{alert}"}}'
    asked = [
        {
            "expr": f"count by (alertstate) ({of_it})",
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertstate="{state}"}}', "value": 1}] if state else [],
        }
        for minute, state in edge.states.items()
    ]
    never = {"expr": f"count_over_time({of_it}[1h])", "eval_time": "1h", "exp_samples": []}
    return {
        "name": f"{alert}: {edge.what}",
        "interval": "1m",
        "input_series": [
            {"series": _scraped(name), "values": values} for name, values in edge.series.items()
        ],
        "promql_expr_test": asked or [never],
    }


def _scraped(name: str) -> str:
    """With the labels that Prometheus gives to what it scrapes."""
    metric, _, given = name.removesuffix("}").partition("{")
    added = [
        f'{label}="{value}"'
        for label, value in (("job", "diptych"), ("instance", "a"))
        if f"{label}=" not in given
    ]
    return f"{metric}{{{', '.join([*added, given] if given else added)}}}"
