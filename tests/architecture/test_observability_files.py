"""Dashboard and alert rules ask for metrics and labels that the server has; each alert has a runbook."""

import json
import re
import shutil
import subprocess
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from diptych.adapters.prometheus_metrics import PrometheusMetrics
from diptych.core.ports import Reason
from support.queries import DASHBOARD, Query, dashboard_queries, rule_queries, rules
from unit.core.core_fakes import model_info

ROOT = Path(__file__).parents[2]
BY_PROMETHEUS = {"up": set[str]()}
SCRAPED = {"job", "instance"}  # labels that every scraped series has
QUERIES = [*dashboard_queries(), *rule_queries()]
RUNBOOKS = "https://git.example.org/diptych"
ALERTS = [rule for rule in rules() if "alert" in rule]


def served_labels() -> dict[str, set[str]]:
    """Every sample that the server can have, with its labels."""
    metrics = PrometheusMetrics()
    metrics.count_request("/embed", 200, 0.1)
    metrics.observe_stage("decode", 0.1)
    metrics.observe_batch("image", 1)
    metrics.set_queue_items("image", 1)
    metrics.count_rejected("decode_full")
    metrics.count_label_cache(1, 1)
    metrics.set_collection("default", 1)
    metrics.set_models([model_info()])
    metrics.set_ready(True)
    text = metrics.render()[0].decode()
    found = dict(BY_PROMETHEUS)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def result_words() -> set[str]:
    """What a look into the label cache ends with."""
    metrics = PrometheusMetrics()
    metrics.count_label_cache(1, 1)
    families = text_string_to_metric_families(metrics.render()[0].decode())
    return {
        sample.labels["result"]
        for family in families
        for sample in family.samples
        if "result" in sample.labels
    }


SERVED = served_labels()


# Labels whose values are words of ours; of statuses any that there is, or all 5xx.
VALUES = {
    "reason": set(get_args(Reason)),
    "route": set(json.loads((ROOT / "server" / "openapi.json").read_text(encoding="utf-8"))["paths"]),
    "result": result_words(),
    "code": {str(int(status)) for status in HTTPStatus} | {"5.."},
}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_query_asks_for_metrics_and_labels_that_there_are(query: Query) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert query.metrics() | query.recorded(), f"{query.place} asks for nothing of ours"
    assert query.metrics() - SERVED.keys() == set(), query.place
    assert query.recorded() - recorded == set(), query.place
    known = SCRAPED.union(*(SERVED[name] for name in query.metrics()))
    assert query.labels() - known == set(), query.place


@pytest.mark.parametrize(
    ("expression", "metrics", "labels"),
    [
        ('sum by (route) (rate(diptych_none{code="diptych_x"}[5m]))', {"diptych_none"}, {"route", "code"}),
        ("up == 0", {"up"}, set()),
        ('time() - process_start_time_seconds{job=~"up"}', {"process_start_time_seconds"}, {"job"}),
    ],
)  # fmt: skip
def test_what_a_query_asks_for_is_read_from_it(expression: str, metrics: set[str], labels: set[str]) -> None:
    query = Query("here", expression)
    assert query.metrics() == metrics
    assert query.labels() == labels


@pytest.mark.parametrize("label", VALUES)
def test_query_asks_for_values_that_the_label_can_have(label: str) -> None:
    asked = {query.place: query.words(label) for query in QUERIES}
    assert set[str]().union(*asked.values()) > set()
    assert {place: words - VALUES[label] for place, words in asked.items() if words - VALUES[label]} == {}


def test_no_label_is_compared_with_values_that_nobody_knows() -> None:
    names = set[str]().union(*(SERVED[name] for query in QUERIES for name in query.metrics()))
    assert {name for name in names for query in QUERIES if query.words(name)} == VALUES.keys()


def test_supervisors_are_left_out_alike_and_encoding_routes_taken_alike() -> None:
    expressions = " ".join(query.expression for query in QUERIES)
    assert set(re.findall(r'\broute!~"([^"]*)"', expressions)) == {"/healthz|/readyz|/metrics|/version"}
    assert set(re.findall(r'\broute=~"([^"]*)"', expressions)) == {"/embed|/classify|/search|/v1/embeddings"}
    # A share of errors has them in neither of its halves.
    (share,) = [query.expression for query in QUERIES if query.place == "panel 'Server errors'"]
    assert share.count("diptych_requests_total{") == share.count('route!~"') == 2


def test_values_are_read_from_all_selectors_and_patterns() -> None:
    query = Query(
        "here", 'rate(diptych_a{code=~"5..", code!~"503|507", xcode="1"}[5m]) or diptych_b{code="200"}'
    )
    assert query.words("code") == {"5..", "503", "507", "200"}


def test_every_reason_of_a_refusal_is_in_the_readme() -> None:
    readme = (ROOT / "server" / "README.md").read_text(encoding="utf-8")
    _, _, table = readme.partition("| reason | refused with |")
    firsts = [row.split("|")[1] for row in table.partition("\n\n")[0].splitlines() if row.count("|") > 2]
    assert {word for first in firsts for word in re.findall(r"`(\w+)`", first)} == set(get_args(Reason))


def test_dashboard_shows_every_metric_of_the_server() -> None:
    shown = set[str]().union(*(query.metrics() for query in dashboard_queries()))
    ours = {
        re.sub(r"_(bucket|sum|count|created)$", "", name) for name in SERVED if name.startswith("diptych_")
    }
    missing = {name for name in ours if not any(one.startswith(name) for one in shown)}
    # The one says what /readyz and diptych_model_info say, as long as one version serves at a time; the other
    # is always 1, as every row is compared.
    assert missing == {"diptych_rollout_state", "diptych_index_recall"}


def test_panels_have_titles_and_ids_of_their_own_and_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_panel_has_the_unit_of_what_it_asks_for() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = {panel["title"]: panel for panel in panels if panel.get("targets")}
    units = {title: panel["fieldConfig"]["defaults"]["unit"] for title, panel in asked.items()}
    wanted = {title: unit_of(panel["targets"][0]["expr"]) for title, panel in asked.items()}
    assert units == wanted


def unit_of(expression: str) -> str:
    """Grafana's word for it."""
    numerator, _, denominator = expression.partition(") / ")
    if denominator and re.findall(r"diptych_[a-z_]+_total", numerator):
        return "percentunit"  # some of them, of all
    if re.search(r"_seconds_bucket|^time\(\) - ", expression):
        return "s"
    if "_bytes" in expression:
        return "bytes"
    return "reqps" if re.search(r"rate\(diptych_(requests|rejected)_total", expression) else "short"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_says_how_urgent_it_is_and_where_its_runbook_is(alert: dict[str, dict[str, str]]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"]
    base, _, file_and_anchor = alert["annotations"]["runbook_url"].partition("/server/")
    assert base == RUNBOOKS, "the README says how to replace it in all of them"
    file, _, anchor = file_and_anchor.partition("#")
    text = (ROOT / "server" / file).read_text(encoding="utf-8")
    headings = re.findall(r"^#{2,6} (.+)$", text, flags=re.MULTILINE)
    assert anchor in {anchor_of(heading) for heading in headings}
    assert anchor == str(alert["alert"]).lower()


def test_readme_replaces_the_address_of_the_runbooks_where_it_stands(tmp_path: Path) -> None:
    readme = (ROOT / "docker" / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\$ (sed -i .+)$", readme, flags=re.MULTILINE)
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    for file in ("prometheus/rules/diptych.yml", "kubernetes/alerts.yaml"):
        text = (tmp_path / "docker" / file).read_text(encoding="utf-8")
        assert RUNBOOKS not in text
        assert text.count("runbook_url: https://git.your-company.com/") == len(ALERTS)


def test_runbook_has_no_alert_that_is_gone() -> None:
    readme = (ROOT / "server" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^#+ (Diptych\w+)$", readme, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


def test_every_rule_has_a_test() -> None:
    tests = (ROOT / "docker" / "prometheus" / "tests" / "diptych.yml").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in ALERTS if f"alertname: {rule['alert']}\n" not in tests] == []


def test_kubernetes_has_the_same_alerts() -> None:
    file = ROOT / "docker" / "kubernetes" / "alerts.yaml"
    there = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
    here = yaml.safe_load(
        (ROOT / "docker" / "prometheus" / "rules" / "diptych.yml").read_text(encoding="utf-8")
    )
    assert there == here


def test_whoever_scrapes_or_draws_goes_by_the_interval_of_the_readme() -> None:
    readme = (ROOT / "docker" / "README.md").read_text(encoding="utf-8")
    (said_s,) = re.findall(r"Prometheus, which scrapes the server every (\d+) s", readme)
    settings = of_file("prometheus/prometheus.yml")["global"]
    (endpoint,) = of_file("kubernetes/service-monitor.yaml")["spec"]["endpoints"]
    (source,) = of_file("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    intervals = [settings["scrape_interval"], settings["evaluation_interval"], endpoint["interval"]]
    assert [*intervals, source["jsonData"]["timeInterval"]] == [f"{said_s}s"] * 4


def test_every_window_of_a_query_holds_four_scrapes() -> None:
    scrape_s = int(of_file("prometheus/prometheus.yml")["global"]["scrape_interval"].removesuffix("s"))
    seconds = {"s": 1, "m": 60, "h": 3600}
    windows = {
        (query.place, int(number) * seconds[unit])
        for query in QUERIES
        for number, unit in re.findall(r"\[(\d+)([smh])\]", query.expression)
    }
    assert len(windows) >= 10
    assert {(place, window_s) for place, window_s in windows if window_s < 4 * scrape_s} == set()


def of_file(name: str) -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "docker" / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def anchor_of(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
