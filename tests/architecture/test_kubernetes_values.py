"""What the Kubernetes example promises: who owns data, what a pod may, when it is restarted, and routes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from diptych.settings import PREFIX, Settings
from support.documents import DOCS

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
MANIFESTS = sorted(DOCKER.glob("kubernetes/*.yaml"))
PAGE = " ".join((DOCS / "scaling.md").read_text(encoding="utf-8").split())
ROUTES = set(json.loads((ROOT / "server" / "openapi.json").read_text(encoding="utf-8"))["paths"])
UNANSWERED_S = 60  # docs/scaling.md: restarted only when /healthz does not answer for a minute
PRE_STOP_S, LAST_WRITES_S = 5, 15
STORE, ENCODE = "diptych-store", "diptych-encode"


def documents() -> Iterator[dict[str, Any]]:
    for file in MANIFESTS:
        yield from yaml.safe_load_all(file.read_text(encoding="utf-8"))


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Objects by their names."""
    return {one["metadata"]["name"]: one for one in documents() if one["kind"] == kind}


def pod_of(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod of a deployment and its container."""
    pod = of_kind("Deployment")[name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def settings_of(name: str) -> dict[str, str]:
    """Without what comes from secrets."""
    variables = {one["name"]: one["value"] for one in pod_of(name)[1]["env"] if "value" in one}
    return {variable.removeprefix(PREFIX).lower(): value for variable, value in variables.items()}


@pytest.mark.parametrize("name", [STORE, ENCODE])
def test_pod_is_confined_and_runs_as_the_user_of_the_image(name: str) -> None:
    pod, container = pod_of(name)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # a Service `diptych` would set DIPTYCH_PORT=tcp://...
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", [STORE, ENCODE])
def test_pod_that_is_full_is_left_alone_and_one_that_does_not_answer_is_restarted(name: str) -> None:
    pod, container = pod_of(name)
    probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")}
    asked = {kind: one["httpGet"]["path"] for kind, one in probes.items()}
    assert asked == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    lasts = {kind: one["periodSeconds"] * one["failureThreshold"] for kind, one in probes.items()}
    assert lasts["readiness"] <= 10
    assert lasts["liveness"] == UNANSWERED_S
    assert lasts["startup"] >= (600 if name == STORE else 120)  # a million rows; a model alone
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == PRE_STOP_S
    grace_s = Settings.model_fields["grace_s"].default
    assert pod["terminationGracePeriodSeconds"] > PRE_STOP_S + grace_s + LAST_WRITES_S


@pytest.mark.parametrize("name", [STORE, ENCODE])
def test_pod_has_settings_that_the_server_takes_and_names_that_it_answers_to(name: str) -> None:
    settings = Settings(**settings_of(name), host="0.0.0.0", api_key="correct horse battery")
    assert str(settings.n_threads) == pod_of(name)[1]["resources"]["requests"]["cpu"]
    (rule,) = of_kind("Ingress")["diptych"]["spec"]["rules"]
    assert {name, f"{name}.diptych.svc.cluster.local", rule["host"]} <= set(settings.allowed_hosts)


def test_store_and_replicas_make_the_same_vectors() -> None:
    for setting in ("model", "precision"):
        assert settings_of(STORE)[setting] == settings_of(ENCODE)[setting] != "auto"


def test_one_process_owns_a_data_folder() -> None:
    store, encode = (of_kind("Deployment")[name]["spec"] for name in (STORE, ENCODE))
    assert (store["replicas"], store["strategy"]["type"]) == (1, "Recreate")
    (claim,) = of_kind("PersistentVolumeClaim").values()
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert "replicas" not in encode  # its autoscaler says
    assert [one for one in encode["template"]["spec"]["volumes"] if "emptyDir" not in one] == []


def test_selectors_find_the_pods_that_they_mean() -> None:
    pods = {
        name: one["spec"]["template"]["metadata"]["labels"] for name, one in of_kind("Deployment").items()
    }
    for name, service in of_kind("Service").items():
        assert service["spec"]["selector"] == pods[name]
        monitor = of_kind("ServiceMonitor")["diptych"]["spec"]
        assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    for name, budget in of_kind("PodDisruptionBudget").items():
        assert budget["spec"]["selector"]["matchLabels"] == pods[name]
    assert of_kind("HorizontalPodAutoscaler")[ENCODE]["spec"]["scaleTargetRef"]["name"] in pods


def test_ingress_sends_to_the_replicas_what_keeps_nothing_and_all_else_to_the_store() -> None:
    (rule,) = of_kind("Ingress")["diptych"]["spec"]["rules"]
    paths = {one["path"]: one["backend"]["service"]["name"] for one in rule["http"]["paths"]}
    (sentence,) = re.findall(r"an Ingress that sends (.*?) to the replicas and all else to the store", PAGE)
    prefixes = re.findall(r"`(/\w+)`", sentence)
    assert paths == {**dict.fromkeys(prefixes, ENCODE), "/": STORE}
    sent = {route for route in ROUTES if any(f"{route}/".startswith(f"{prefix}/") for prefix in prefixes)}
    assert sent == {
        *("/embed", "/classify", "/v1/embeddings", "/v1/health", "/v1/models", "/v1/models/{model}"),
        *("/hf/zero-shot-image-classification", "/hf/feature-extraction"),
    }


def test_kustomization_lists_every_manifest() -> None:
    (listed,) = [document for document in documents() if document["kind"] == "Kustomization"]
    assert sorted([*listed["resources"], "kustomization.yaml"]) == [file.name for file in MANIFESTS]
