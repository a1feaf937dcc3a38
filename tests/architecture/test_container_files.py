"""What the files for containers say agrees with the server and among them. Builds and runs nothing."""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from diptych.settings import PREFIX, Settings
from support.projects import requirements_of

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
MANIFESTS = sorted(DOCKER.glob("kubernetes/*.yaml"))
COMPOSE_FILES = (ROOT / "docker-compose.yml", DOCKER / "compose.gpu.yml")
LOCKS = {"server.cpu.lock": "server[cpu]", "server.gpu.lock": "server"}
# Of the training's commands, of the compose file itself, and of the pages that it calls.
OTHER_VARIABLES = {"DIPTYCH_CACHE", "DIPTYCH_RUNS_DIR", "DIPTYCH_DATA"}
OF_COMPOSE = {
    "DIPTYCH_PUBLISH", "DIPTYCH_CPUS", "DIPTYCH_MEMORY", "DIPTYCH_TRAINING_MEMORY", "DIPTYCH_TRAINING_DIR",
    "DIPTYCH_RECIPE", "DIPTYCH_RUN",
}  # fmt: skip
LAST_WRITES_S = 15  # after the grace: server/README.md, "Start and end"
PRE_STOP_S = 5


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every Kubernetes object, with the file that it stands in."""
    for file in MANIFESTS:
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            yield file.name, document


def deployments() -> list[dict[str, Any]]:
    return [document for _, document in documents() if document["kind"] == "Deployment"]


def services() -> dict[str, Any]:
    found = yaml.safe_load(COMPOSE_FILES[0].read_text(encoding="utf-8"))["services"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("file", [*DOCKERFILES, *MANIFESTS, *COMPOSE_FILES], ids=lambda file: file.name)
def test_every_variable_is_one_that_something_reads(file: Path) -> None:
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"\bDIPTYCH_[A-Z_]+\b", file.read_text(encoding="utf-8")))
    assert named - settings - OTHER_VARIABLES - OF_COMPOSE == set()


def test_every_variable_of_the_compose_file_is_in_its_readme() -> None:
    readme = (DOCKER / "README.md").read_text(encoding="utf-8")
    named = {
        name
        for file in COMPOSE_FILES
        for name in re.findall(r"\$\{([A-Z_]+)", file.read_text(encoding="utf-8"))
    }
    assert {name for name in named if f"`{name}`" not in readme} == set()


def test_every_image_that_is_fetched_has_a_release_as_its_tag() -> None:
    fetched = [service["image"] for service in services().values() if "build" not in service]
    fetched += [
        base for file in DOCKERFILES for base in re.findall(r"^ARG BASE=(\S+)", file.read_text(), re.M)
    ]
    assert len(fetched) == 4
    assert [image for image in fetched if not re.search(r":v?\d+\.\d+\.\d+(-[a-z-]+)?$", image)] == []


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_a_build_copies_is_there_and_not_ignored(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.MULTILINE)]
    sources = {source for line in copied for source in line if not source.startswith("--chmod=")}
    sources |= set(re.findall(r"type=bind,source=([^,\s]+)", text))
    let_in = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(lets_in(pattern, source) for pattern in let_in), f".dockerignore keeps {source} out"


def lets_in(pattern: str, source: str) -> bool:
    """Whether a line of .dockerignore lets in the source, what it lies in, or a part of it."""
    return fnmatch(source, pattern) or source.startswith(f"{pattern}/") or pattern.startswith(f"{source}/")


@pytest.mark.parametrize("name", LOCKS)
def test_lock_has_what_the_project_requires_in_its_ranges_and_by_hash(name: str) -> None:
    locked = read_lock(DOCKER / name)
    for requirement in requirements_of("clients/python", LOCKS[name]):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement
    forbidden = {"torch", "torchvision", "transformers", "diptych-training"}
    assert locked.keys() & forbidden == set()
    runtimes = {"onnxruntime", "onnxruntime-gpu"}  # they overwrite each other
    assert len(locked.keys() & runtimes) == 1
    assert "faiss-cpu" in locked  # the images search on the CPU


def test_locks_have_the_releases_of_the_constraints() -> None:
    known = read_lock(ROOT / "constraints.txt", hashed=False)
    for name in LOCKS:
        differing = {
            package: (version, known[package])
            for package, version in read_lock(DOCKER / name).items()
            if package in known and version != known[package]
        }
        assert differing == {}, f"{name}: run `make lock`"


def read_lock(file: Path, *, hashed: bool = True) -> dict[str, Version]:
    """Package -> release. Fails where one has no hash."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if hashed:
        assert [line for line in lines if "--hash=sha256:" not in line] == []
    requirements = [Requirement(line.partition(" --hash")[0].strip()) for line in lines]
    return {
        canonicalize_name(one.name): Version(str(one.specifier).removeprefix("==")) for one in requirements
    }


@pytest.mark.parametrize("name", ["server", "train", "prometheus", "grafana"])
def test_service_is_confined_bounded_and_comes_back(name: str) -> None:
    service = services()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    limits = service["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert limits["pids"]
    assert service["restart"] == ("no" if name == "train" else "unless-stopped")
    published = [str(port) for port in service.get("ports", [])]
    assert [port for port in published if "127.0.0.1:" not in port] == []


def test_folders_of_the_host_are_never_made_by_root() -> None:
    volumes = [one for name in ("server", "train") for one in services()[name]["volumes"]]
    assert [one for one in volumes if one["bind"] != {"create_host_path": False}] == []


def test_server_gets_the_time_that_its_end_takes() -> None:
    server = services()["server"]
    grace_s = int(server["environment"]["DIPTYCH_GRACE_S"])
    assert int(server["stop_grace_period"].removesuffix("s")) > grace_s + LAST_WRITES_S
    default_s = Settings.model_fields["grace_s"].default
    for deployment in deployments():
        spec = deployment["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] > PRE_STOP_S + default_s + LAST_WRITES_S


@pytest.mark.parametrize("deployment", deployments(), ids=lambda one: one["metadata"]["name"])
def test_pod_is_confined_and_asked_what_it_should_be(deployment: dict[str, Any]) -> None:
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    asked = {
        kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")
    }
    # A server that is full or reloads is not to be killed: only one that does not answer at all.
    assert asked == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    assert container["resources"]["limits"].keys() == {"memory"}
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == PRE_STOP_S


def test_one_process_owns_a_data_folder() -> None:
    by_name = {one["metadata"]["name"]: one["spec"] for one in deployments()}
    store, encode = by_name["diptych-store"], by_name["diptych-encode"]
    assert (store["replicas"], store["strategy"]["type"]) == (1, "Recreate")
    assert "replicas" not in encode  # its autoscaler says
    kept = [volume for volume in encode["template"]["spec"]["volumes"] if "emptyDir" not in volume]
    assert kept == []


def test_selectors_find_the_pods_that_they_mean() -> None:
    pods = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in deployments()}
    for _, document in documents():
        name, spec = (
            document["metadata"].get("name") if "metadata" in document else None,
            document.get("spec"),
        )
        if document["kind"] == "Service":
            assert spec["selector"] == pods[name]
        if document["kind"] in {"PodDisruptionBudget", "Deployment"}:
            assert spec["selector"]["matchLabels"] == pods[name]


def test_kustomization_lists_every_manifest() -> None:
    (listed,) = [document for _, document in documents() if document["kind"] == "Kustomization"]
    assert sorted([*listed["resources"], "kustomization.yaml"]) == [file.name for file in MANIFESTS]
