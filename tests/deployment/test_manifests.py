"""The manifests against the schemas of Kubernetes and of the Prometheus operator, unknown fields refused."""

from pathlib import Path

import pytest

from deployment.tools import DOCKER, ENVIRONMENT, run

FILES = sorted(DOCKER.glob("kubernetes/*.yaml"))
MONITORING = {"alerts.yaml", "service-monitor.yaml"}
NEITHER = {"kustomization.yaml"}  # kustomize's own file: no schema of the cluster's
KUBERNETES = ("1.34", "1.37")
MODELS = Path(__file__).parent / "monitoring_models.py"


@pytest.mark.parametrize("release", KUBERNETES)
@pytest.mark.parametrize(
    "file", [file for file in FILES if file.name not in MONITORING | NEITHER], ids=lambda file: file.name
)
def test_manifest_is_what_kubernetes_takes(file: Path, release: str) -> None:
    printed = run("kubernetes-validate", "--strict", "--kubernetes-version", release, file)
    assert "ERROR" not in printed


@pytest.mark.parametrize("name", sorted(MONITORING))
def test_manifest_is_what_the_operator_takes(name: str) -> None:
    run(str(ENVIRONMENT / "python"), MODELS, DOCKER / "kubernetes" / name)
