"""What the files for containers share with the code: variables, sources, releases, names, limits.

What Compose, hadolint, promtool and the schemas of Kubernetes see, they are asked in `tests/deployment`.
"""

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from diptych.settings import PREFIX, Settings
from support.documents import DOCS
from support.projects import requirements_of

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
MANIFESTS = sorted(DOCKER.glob("kubernetes*/*.yaml"))
COMPOSE_FILES = (ROOT / "docker-compose.yml", DOCKER / "compose.gpu.yml")
LOCKS = {"server.cpu.lock": "server[cpu,postgres,s3]", "server.gpu.lock": "server[postgres,s3]"}
# Of the training's commands, of the compose file itself, and of the pages that it calls.
OTHER_VARIABLES = {"DIPTYCH_CACHE", "DIPTYCH_RUNS_DIR", "DIPTYCH_DATA"}
OF_COMPOSE = {
    "DIPTYCH_PUBLISH", "DIPTYCH_CPUS", "DIPTYCH_MEMORY", "DIPTYCH_TRAINING_MEMORY", "DIPTYCH_TRAINING_DIR",
    "DIPTYCH_RECIPE", "DIPTYCH_RUN", "DIPTYCH_NAME", "DIPTYCH_PRECISIONS", "DIPTYCH_PICTURES",
    "DIPTYCH_SCALE_DIR", "DIPTYCH_SCALE_SECRET",
}  # fmt: skip
BY_ARGUMENT = {
    "TORCH": "torch",
    "TORCHVISION": "torchvision",
    "ONNXRUNTIME": "onnxruntime",
    "FAISS": "faiss-cpu",
}


@pytest.mark.parametrize("file", [*DOCKERFILES, *MANIFESTS, *COMPOSE_FILES], ids=lambda file: file.name)
def test_every_variable_is_one_that_something_reads(file: Path) -> None:
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"\bDIPTYCH_[A-Z_]+\b", file.read_text(encoding="utf-8")))
    assert named - settings - OTHER_VARIABLES - OF_COMPOSE == set()


def test_every_variable_of_the_compose_files_is_documented_with_its_default() -> None:
    page = (DOCS / "containers.md").read_text(encoding="utf-8")
    text = "\n".join(file.read_text(encoding="utf-8") for file in COMPOSE_FILES)
    assert {name for name in re.findall(r"\$\{([A-Z_]+)", text) if f"`{name}`" not in page} == set()
    memory = dict(re.findall(r"\$\{(DIPTYCH_\w*MEMORY):-(\w+)\}", text))
    assert memory == dict(re.findall(r"^\| `(DIPTYCH_\w*MEMORY)` \| `(\w+)` \|", page, flags=re.MULTILINE))


def test_every_image_that_is_fetched_has_a_release_as_its_tag() -> None:
    services = yaml.safe_load(COMPOSE_FILES[0].read_text(encoding="utf-8"))["services"].values()
    fetched = [
        one["image"] for one in services if "build" not in one and not one["image"].startswith("diptych-")
    ]
    fetched += [
        base for file in DOCKERFILES for base in re.findall(r"^ARG BASE=(\S+)", file.read_text(), re.M)
    ]
    assert len(fetched) == 7
    assert [image for image in fetched if not re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z-]+)?$", image)] == []


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_a_build_copies_is_there_and_not_ignored(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.MULTILINE)]
    sources = {source for line in copied for source in line if not source.startswith("--chmod=")}
    sources |= set(re.findall(r"type=bind,source=([^,\s]+)", text))
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(lets_in(pattern, source) for pattern in let_in), f".dockerignore keeps {source} out"


def lets_in(pattern: str, source: str) -> bool:
    """Whether a line of .dockerignore lets in the source, what it lies in, or a part of it."""
    return fnmatch(source, pattern) or source.startswith(f"{pattern}/") or pattern.startswith(f"{source}/")


def test_image_has_the_default_model_and_none_of_the_users() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "model_repo"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    (default,) = {str(Path(*Path(line).parts[:3])) for line in listed if len(Path(line).parts) > 3}
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    calibration = f"{default}.calibration.npz"
    assert calibration in listed
    assert [line for line in let_in if "model_repo" in line] == [f"!{default}", f"!{calibration}"]
    dockerfile = (DOCKER / "server.Dockerfile").read_text(encoding="utf-8")
    assert f"\nCOPY {default} /{default}\n" in dockerfile
    assert f"\nCOPY {calibration} /{Path(default).parent}/\n" in dockerfile


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


def test_releases_of_the_training_image_are_those_that_its_projects_take() -> None:
    arguments = re.findall(r"^ARG (\w+)=(\S+)", (DOCKER / "training.Dockerfile").read_text(), flags=re.M)
    pinned = {BY_ARGUMENT[name]: Version(value) for name, value in arguments if name in BY_ARGUMENT}
    assert pinned.keys() == set(BY_ARGUMENT.values())
    ranges = {one.name: one.specifier for one in requirements_of("server[cpu]", "training[import]")}
    assert {name for name, release in pinned.items() if not ranges[name].contains(release)} == set()
    assert pinned["torchvision"].minor == pinned["torch"].minor + 15  # 2.x goes with 0.(x + 15)
    locked = read_lock(DOCKER / "server.cpu.lock")
    assert [name for name in ("onnxruntime", "faiss-cpu") if pinned[name] != locked[name]] == []


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


def yaml_of(name: str) -> Any:
    return yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))


def test_prometheus_scrapes_the_server_under_a_name_that_it_answers_to_with_the_key_that_was_written() -> (
    None
):
    services = yaml.safe_load(COMPOSE_FILES[0].read_text(encoding="utf-8"))["services"]
    (job,) = yaml_of("prometheus/prometheus.yml")["scrape_configs"]
    ((target,),) = [one["targets"] for one in job["static_configs"]]
    name = target.partition(":")[0]
    assert name in services[name]["environment"]["DIPTYCH_ALLOWED_HOSTS"].split(",")
    (script,) = services["prometheus"]["command"]
    assert re.findall(r"> (/\S+)", script) == [job["authorization"]["credentials_file"]]


def test_nobody_may_change_grafana_from_within_and_its_panels_ask_the_source_that_is_provisioned() -> None:
    services = yaml.safe_load(COMPOSE_FILES[0].read_text(encoding="utf-8"))["services"]
    variables = services["grafana"]["environment"]
    assert variables["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    # By itself Grafana has an admin with the password admin, who is let in by a header.
    assert variables["GF_AUTH_BASIC_ENABLED"] == "false"
    assert variables["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    (source,) = yaml_of("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    dashboard = (DOCKER / "grafana" / "dashboards" / "diptych.json").read_text(encoding="utf-8")
    assert f'"uid": "{source["uid"]}"' in dashboard
