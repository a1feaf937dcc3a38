"""Names that two files for containers must share: files, ports, users, services, secrets, data sources."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from architecture.test_container_files import deployments, documents, services
from support.dockerfiles import environment, rests, steps_of

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SERVER_IMAGE = steps_of(DOCKER / "server.Dockerfile", "cpu")
IMAGE = environment(SERVER_IMAGE)
(UID,) = {int(one) for user in rests(SERVER_IMAGE, "USER") for one in user.split(":")}
NAMESPACE = "diptych"
STARTS_WITHIN_S = {"diptych-store": 600, "diptych-encode": 120}  # a million rows; a model alone


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Kubernetes objects by their names."""
    return {one["metadata"]["name"]: one for _, one in documents() if one["kind"] == kind}


def mounts(service: str) -> dict[str, str]:
    """Where in the container -> what of this repository."""
    volumes = services()[service]["volumes"]
    return {one["target"]: one["source"] for one in volumes if one["type"] == "bind"}


def here(service: str, path: str) -> Path:
    """The file of this repository that a container sees under a path. KeyError where nothing is mounted."""
    inside = PurePosixPath(path)
    mounted = mounts(service)
    target = next(one for one in (inside, *inside.parents) if str(one) in mounted)
    return ROOT / mounted[str(target)] / inside.relative_to(target)


def container_of(deployment: dict[str, Any]) -> dict[str, Any]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def variables_of(deployment: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value") or one["valueFrom"] for one in container_of(deployment)["env"]}


def each_deployment() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("deployment", deployments(), ids=lambda one: one["metadata"]["name"])


# Compose


def test_server_of_compose_finds_its_folders_where_the_image_looks_for_them() -> None:
    gallery = services()["server"]["environment"]["DIPTYCH_GALLERY"]
    assert mounts("server").keys() == {IMAGE["DIPTYCH_MODEL_REPO"], IMAGE["DIPTYCH_DATA_DIR"], gallery}
    (published,) = services()["server"]["ports"]
    assert published.rpartition(":")[2] == IMAGE["DIPTYCH_PORT"]


def test_server_that_is_published_elsewhere_needs_a_key() -> None:
    # `:+` is what stands there when the variable is set: `--no-insecure`.
    assert services()["server"]["command"] == ["serve", "--${DIPTYCH_PUBLISH:+no-}insecure"]
    assert "DIPTYCH_INSECURE" not in services()["server"]["environment"]


def test_prometheus_reads_the_key_from_where_it_was_written() -> None:
    service = services()["prometheus"]
    (script,) = service["command"]
    (written,) = re.findall(r"> (/\S+)", script)
    (job,) = prometheus()["scrape_configs"]
    assert job["authorization"]["credentials_file"] == written
    assert [one for one in service["tmpfs"] if one.partition(":")[0] == str(Path(written).parent)]


def test_prometheus_finds_its_configuration_and_the_rules() -> None:
    (script,) = services()["prometheus"]["command"]
    (file,) = re.findall(r"--config\.file=(\S+)", script)
    assert here("prometheus", file) == DOCKER / "prometheus" / "prometheus.yml"
    (pattern,) = prometheus()["rule_files"]
    rules = here("prometheus", str(PurePosixPath(file).parent / pattern))
    assert [one for one in rules.parent.iterdir() if fnmatch(one.name, rules.name)] == [
        DOCKER / "prometheus" / "rules" / "diptych.yml"
    ]


def test_prometheus_scrapes_the_server_under_a_name_that_it_answers_to() -> None:
    (job,) = prometheus()["scrape_configs"]
    ((target,),) = [one["targets"] for one in job["static_configs"]]
    name, _, port = target.partition(":")
    assert name in services()
    assert port == IMAGE["DIPTYCH_PORT"]
    assert name in services()[name]["environment"]["DIPTYCH_ALLOWED_HOSTS"].split(",")
    assert fnmatch(job["job_name"], "*diptych*")  # what the alerts look for


def test_grafana_finds_its_provisioning_and_the_dashboard() -> None:
    variables = services()["grafana"]["environment"]
    assert mounts("grafana")["/etc/grafana/provisioning"] == "./docker/grafana/provisioning"
    provider = provisioned("dashboards/diptych.yml")["providers"][0]
    assert here("grafana", provider["options"]["path"]) == DOCKER / "grafana" / "dashboards"
    home = here("grafana", variables["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home == DOCKER / "grafana" / "dashboards" / "diptych.json"


def test_nobody_may_change_grafana_from_within() -> None:
    variables = services()["grafana"]["environment"]
    assert variables["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert variables["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    # By itself Grafana has an admin with the password admin, who is let in by a header.
    assert variables["GF_AUTH_BASIC_ENABLED"] == "false"
    assert variables["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_every_panel_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = provisioned("datasources/prometheus.yml")["datasources"]
    dashboard = (DOCKER / "grafana" / "dashboards" / "diptych.json").read_text(encoding="utf-8")
    asked = set(re.findall(r'"uid": "(\w+)"', json.dumps(without_own_uid(json.loads(dashboard)))))
    assert asked == {source["uid"]}
    name, _, port = source["url"].removeprefix("http://").partition(":")
    (published,) = services()[name]["ports"]
    assert published.rpartition(":")[2] == port


def without_own_uid(dashboard: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in dashboard.items() if name != "uid"}


def prometheus() -> dict[str, Any]:
    found = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def provisioned(name: str) -> dict[str, Any]:
    found = yaml.safe_load((DOCKER / "grafana" / "provisioning" / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


# Kubernetes


@each_deployment()
def test_pod_runs_as_the_user_of_the_image_and_without_variables_of_services(
    deployment: dict[str, Any],
) -> None:
    pod = deployment["spec"]["template"]["spec"]
    users = [pod["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")]
    assert users == [UID] * 3
    assert [name for name in container_of(deployment)["securityContext"] if name.startswith("runAs")] == []
    # A Service that is called `diptych` would set DIPTYCH_PORT=tcp://...
    assert pod["enableServiceLinks"] is False


@each_deployment()
def test_pod_has_the_time_that_a_start_takes(deployment: dict[str, Any]) -> None:
    probe = container_of(deployment)["startupProbe"]
    assert (
        probe["periodSeconds"] * probe["failureThreshold"] >= STARTS_WITHIN_S[deployment["metadata"]["name"]]
    )
    liveness = container_of(deployment)["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


@each_deployment()
def test_pod_listens_and_keeps_where_the_image_does(deployment: dict[str, Any]) -> None:
    container = container_of(deployment)
    assert container["ports"] == [{"name": "http", "containerPort": int(IMAGE["DIPTYCH_PORT"])}]
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounted == {"data": IMAGE["DIPTYCH_DATA_DIR"], "tmp": "/tmp"}
    assert {one["name"] for one in deployment["spec"]["template"]["spec"]["volumes"]} == mounted.keys()
    assert {
        container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")
    } == {"http"}


@each_deployment()
def test_pod_has_the_key_by_the_name_that_its_readme_gives_it(deployment: dict[str, Any]) -> None:
    reference = variables_of(deployment)["DIPTYCH_API_KEY"]["secretKeyRef"]
    for file in ("README.md", "kubernetes/kustomization.yaml"):
        text = (DOCKER / file).read_text(encoding="utf-8")
        (made,) = re.findall(r"create secret generic (\S+) --from-literal=([\w-]+)=", text)
        assert made == (reference["name"], reference["key"])
    endpoints = of_kind("ServiceMonitor")["diptych"]["spec"]["endpoints"]
    assert [one["authorization"]["credentials"] for one in endpoints] == [reference]


@each_deployment()
def test_pod_answers_to_every_name_of_its_service_and_to_that_of_the_ingress(
    deployment: dict[str, Any],
) -> None:
    name = deployment["metadata"]["name"]
    forms = {
        f"{name}{end}"
        for end in ("", f".{NAMESPACE}", f".{NAMESPACE}.svc", f".{NAMESPACE}.svc.cluster.local")
    }
    (rule,) = of_kind("Ingress")["diptych"]["spec"]["rules"]
    assert set(variables_of(deployment)["DIPTYCH_ALLOWED_HOSTS"].split(",")) == {*forms, rule["host"]}


@each_deployment()
def test_pod_has_as_many_threads_as_it_asks_for_processors(deployment: dict[str, Any]) -> None:
    asked = container_of(deployment)["resources"]["requests"]["cpu"]
    assert variables_of(deployment)["DIPTYCH_N_THREADS"] == asked


@each_deployment()
def test_pod_is_of_the_image_that_the_kustomization_renames(deployment: dict[str, Any]) -> None:
    (kustomization,) = [one for _, one in documents() if one["kind"] == "Kustomization"]
    assert kustomization["namespace"] == NAMESPACE
    assert [one["name"] for one in kustomization["images"]] == [container_of(deployment)["image"]]


@each_deployment()
def test_volume_claim_of_a_pod_is_there(deployment: dict[str, Any]) -> None:
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    claims = {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}
    assert claims <= of_kind("PersistentVolumeClaim").keys()


def test_every_claim_is_used() -> None:
    pods = json.dumps(deployments())
    assert [name for name in of_kind("PersistentVolumeClaim") if f'"claimName": "{name}"' not in pods] == []


@each_deployment()
def test_deployment_has_a_service_to_its_port(deployment: dict[str, Any]) -> None:
    ports = of_kind("Service")[deployment["metadata"]["name"]]["spec"]["ports"]
    (named,) = container_of(deployment)["ports"]
    assert ports == [{"name": "http", "port": named["containerPort"], "targetPort": named["name"]}]


def test_replicas_may_not_all_be_taken_away_at_once_and_are_scaled() -> None:
    assert of_kind("PodDisruptionBudget").keys() == {"diptych-encode"}
    assert of_kind("PodDisruptionBudget")["diptych-encode"]["spec"]["maxUnavailable"] == 1
    ((name, scaler),) = of_kind("HorizontalPodAutoscaler").items()
    target = scaler["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    assert name in of_kind("Deployment")
    assert scaler["spec"]["minReplicas"] >= 2


def test_ingress_leads_to_services_that_there_are() -> None:
    (rule,) = of_kind("Ingress")["diptych"]["spec"]["rules"]
    backends = [path["backend"]["service"] for path in rule["http"]["paths"]]
    assert {one["name"] for one in backends} == of_kind("Service").keys()
    for one in backends:
        ports = of_kind("Service")[one["name"]]["spec"]["ports"]
        assert one["port"]["name"] in {port["name"] for port in ports}


def test_monitor_finds_both_services_by_their_labels_and_port() -> None:
    monitor = of_kind("ServiceMonitor")["diptych"]["spec"]
    for name, service in of_kind("Service").items():
        assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items(), name
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {one["port"] for one in monitor["endpoints"]} <= ports, name
        assert fnmatch(name, "*diptych*")  # the job's name, which the alerts look for
    assert {one["path"] for one in monitor["endpoints"]} == {"/metrics"}
