"""Values of the Kubernetes example: what is served where, how soon a pod is noticed, what it may do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from architecture.test_container_files import DOCKER, deployments
from architecture.test_container_names import container_of, each_deployment, of_kind, variables_of
from diptych.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
README = " ".join((DOCKER / "README.md").read_text(encoding="utf-8").split())
ROUTES = set(json.loads((ROOT / "server" / "openapi.json").read_text(encoding="utf-8"))["paths"])
UNANSWERED_S = 60  # README: restarted only when /healthz does not answer for a minute
STORE, ENCODE = "diptych-store", "diptych-encode"


def by_name() -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in deployments()}


def plain_settings(deployment: dict[str, Any]) -> dict[str, str]:
    """Without what comes from secrets."""
    given = {name: value for name, value in variables_of(deployment).items() if isinstance(value, str)}
    return {name.removeprefix(PREFIX).lower(): value for name, value in given.items()}


@each_deployment()
def test_pod_has_settings_that_the_server_takes(deployment: dict[str, Any]) -> None:
    settings = Settings(**plain_settings(deployment), host="0.0.0.0", api_key="correct horse battery")
    assert settings.n_threads == int(plain_settings(deployment)["n_threads"])


@pytest.mark.parametrize("name", ["model", "precision"])
def test_store_and_replicas_make_the_same_vectors(name: str) -> None:
    store, encode = (plain_settings(by_name()[one])[name] for one in (STORE, ENCODE))
    assert store == encode
    assert store != "auto"  # which may choose differently on another node


def paths_of_the_ingress() -> dict[str, str]:
    """Prefix -> service."""
    (rule,) = of_kind("Ingress")["diptych"]["spec"]["rules"]
    paths = rule["http"]["paths"]
    assert {one["pathType"] for one in paths} == {"Prefix"}
    return {one["path"]: one["backend"]["service"]["name"] for one in paths}


def test_ingress_sends_to_the_replicas_what_the_readme_says_and_all_else_to_the_store() -> None:
    (sentence,) = re.findall(r"an Ingress that sends (.*?) to the replicas and all else to the store", README)
    said = re.findall(r"`(/\w+)`", sentence)
    assert paths_of_the_ingress() == {**dict.fromkeys(said, ENCODE), "/": STORE}


def test_no_route_that_needs_what_is_kept_is_sent_to_the_replicas() -> None:
    prefixes = [path for path, service in paths_of_the_ingress().items() if service == ENCODE]
    sent = {route for route in ROUTES if any(f"{route}/".startswith(f"{prefix}/") for prefix in prefixes)}
    keeping = ("/collections", "/search", "/jobs")
    assert {route for route in sent if route.startswith(keeping)} == set()
    assert sent == {"/embed", "/classify", "/v1/embeddings", "/v1/models"}


@each_deployment()
def test_pod_that_is_not_ready_is_left_alone_within_seconds_and_one_that_is_dead_restarted_after_a_minute(
    deployment: dict[str, Any],
) -> None:
    probes = {kind: container_of(deployment)[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")}
    lasts = {kind: one["periodSeconds"] * one["failureThreshold"] for kind, one in probes.items()}
    assert lasts["readiness"] <= 10
    assert lasts["liveness"] == UNANSWERED_S
    assert probes["startup"]["periodSeconds"] <= 5  # how long a started one waits to be asked
    # A server that is busy answers late: Kubernetes' own second is too short.
    for kind in ("readiness", "liveness"):
        assert 3 <= probes[kind]["timeoutSeconds"] <= probes[kind]["periodSeconds"]


@each_deployment()
def test_pod_has_the_system_calls_of_the_runtime_alone(deployment: dict[str, Any]) -> None:
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "seccompProfile" not in container_of(deployment)["securityContext"]
    assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))


def test_volume_of_the_store_is_taken_by_one_pod() -> None:
    (claim,) = of_kind("PersistentVolumeClaim").values()
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_a_new_version_comes_before_an_old_replica_goes() -> None:
    strategy = by_name()[ENCODE]["spec"]["strategy"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    assert strategy["rollingUpdate"]["maxSurge"] >= 1


def test_replicas_are_added_while_those_there_still_have_room() -> None:
    spec = of_kind("HorizontalPodAutoscaler")[ENCODE]["spec"]
    (metric,) = spec["metrics"]
    assert metric["resource"]["name"] == "cpu"
    assert 50 <= metric["resource"]["target"]["averageUtilization"] <= 85
    assert spec["minReplicas"] < spec["maxReplicas"]
    # It is of the request, which has to be there.
    assert container_of(by_name()[ENCODE])["resources"]["requests"]["cpu"]
