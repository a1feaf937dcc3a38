"""The manifests against the schemas of Kubernetes and of the Prometheus operator, unknown fields refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.tools import DOCKER, ENVIRONMENT, run
from diptych.settings import PREFIX, Settings

FILES = sorted(DOCKER.glob("kubernetes*/*.yaml"))
MONITORING = {"alerts.yaml", "service-monitor.yaml"}
NEITHER = {"kustomization.yaml"}  # kustomize's own file: no schema of the cluster's
KUBERNETES = ("1.34", "1.37")
MODELS = Path(__file__).parent / "monitoring_models.py"
STORE = "diptych-store"
OF_THE_OPERATOR = {"ServiceMonitor", "PrometheusRule"}


@pytest.mark.parametrize("release", KUBERNETES)
@pytest.mark.parametrize(
    "file", [file for file in FILES if file.name not in MONITORING | NEITHER], ids=lambda file: file.name
)
def test_manifest_is_what_kubernetes_takes(file: Path, release: str) -> None:
    assert_taken(file, release)


@pytest.mark.parametrize("name", sorted(MONITORING))
def test_manifest_is_what_the_operator_takes(name: str) -> None:
    run(str(ENVIRONMENT / "python"), MODELS, DOCKER / "kubernetes" / name)


@pytest.mark.parametrize("release", KUBERNETES)
def test_several_servers_on_one_database_are_what_kubernetes_takes(release: str, tmp_path: Path) -> None:
    built = {name: one for name, one in several_servers().items() if name[0] not in OF_THE_OPERATOR}
    file = tmp_path / "several.yaml"
    file.write_text(yaml.safe_dump_all(built.values()), encoding="utf-8")
    assert_taken(file, release)


def test_several_servers_replace_the_store_and_its_volume_and_nothing_else() -> None:
    alone = objects(run("kustomize", "build", DOCKER / "kubernetes"))
    several = several_servers()
    changed = {name for name in alone.keys() | several.keys() if alone.get(name) != several.get(name)}
    budget, claim = ("PodDisruptionBudget", STORE), ("PersistentVolumeClaim", "diptych-data")
    assert changed == {("Deployment", STORE), budget, claim}
    assert claim not in several
    spec = several["Deployment", STORE]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (3, "RollingUpdate")
    assert {"name": "data", "emptyDir": {"sizeLimit": "20Gi"}} in spec["template"]["spec"]["volumes"]
    labels = spec["template"]["metadata"]["labels"]
    assert several[budget]["spec"]["selector"]["matchLabels"] == labels


def test_several_servers_share_a_database_and_a_bucket() -> None:
    (container,) = several_servers()["Deployment", STORE]["spec"]["template"]["spec"]["containers"]
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert variables["DIPTYCH_STORE"] is None  # from the secret, with its password
    given = {name: value for name, value in variables.items() if name.startswith(PREFIX) and value}
    settings = Settings(
        **{name.removeprefix(PREFIX).lower(): value for name, value in given.items()},
        host="0.0.0.0", api_key="correct horse battery", store="postgresql://server@db/pictures",
    )  # fmt: skip
    assert settings.originals == "s3://pictures/diptych"
    assert {
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    } <= variables.keys()


def several_servers() -> dict[tuple[str, str], dict[str, Any]]:
    """What `kubectl apply -k docker/kubernetes-scale` sends, by kind and name."""
    return objects(run("kustomize", "build", DOCKER / "kubernetes-scale"))


def objects(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}


def assert_taken(file: Path, release: str) -> None:
    printed = run("kubernetes-validate", "--strict", "--kubernetes-version", release, file)
    assert "ERROR" not in printed
