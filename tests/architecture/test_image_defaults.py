"""What an image does when it is started as it is: what runs, who is let in, when it is called unhealthy."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from diptych.errors import ConfigError
from diptych.settings import PREFIX, Settings, read_settings
from support.dockerfiles import arguments, environment, rests, stages, steps_of

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SERVER, TRAINING = DOCKER / "server.Dockerfile", DOCKER / "training.Dockerfile"
TARGETS = [(SERVER, "cpu", "server"), (SERVER, "gpu", "server"), (TRAINING, "", "training")]
LOADS_WITHIN_S = 120  # a model alone, on a slow disk
NOTICED_WITHIN_S = 60


def server_variables(target: str) -> dict[str, str]:
    """Settings that the image of the server gives."""
    given = environment(steps_of(SERVER, target))
    return {name: value for name, value in given.items() if name.startswith(PREFIX)}


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_server_of_the_image_listens_everywhere_and_refuses_to_without_a_key(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server_variables(target).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="no API key is set"):
        read_settings({"model": "pictograms"})
    monkeypatch.setenv("DIPTYCH_API_KEY", "correct horse battery")
    settings = read_settings({"model": "pictograms"})
    assert settings.host == "0.0.0.0"
    assert not settings.insecure


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_image_gives_settings_that_there_are_and_no_secret(target: str) -> None:
    named = {name.removeprefix(PREFIX).lower() for name in server_variables(target)}
    assert named <= Settings.model_fields.keys() - {"api_key", "insecure"}


@pytest.mark.parametrize(("file", "target", "project"), TARGETS)
def test_image_starts_the_program_of_its_project(file: Path, target: str, project: str) -> None:
    described = tomllib.loads((ROOT / project / "pyproject.toml").read_text(encoding="utf-8"))
    (entry,) = rests(steps_of(file, target), "ENTRYPOINT")
    (program,) = yaml.safe_load(entry)
    assert described["project"]["scripts"].keys() == {program}


@pytest.mark.parametrize(("file", "target", "project"), TARGETS)
def test_image_ends_its_program_by_the_signal_that_it_obeys(file: Path, target: str, project: str) -> None:
    assert rests(steps_of(file, target), "STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize("file", [SERVER, TRAINING], ids=lambda file: file.name)
def test_base_is_the_slim_image_of_python_for_debian(file: Path) -> None:
    # The full one has compilers, a mail client's libraries and 1 GB more.
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-[a-z]+", arguments(file)["BASE"])
    assert arguments(SERVER)["BASE"] == arguments(TRAINING)["BASE"]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_nothing_of_others_is_built_or_run_while_the_servers_packages_are_installed(target: str) -> None:
    (install,) = [
        run for run in rests(list(stages(SERVER)[f"{target}-packages"].steps), "RUN") if " install " in run
    ]
    assert "--require-hashes --only-binary :all: " in " ".join(install.split())


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_server_that_does_not_answer_is_noticed_within_a_minute_and_has_time_to_start(target: str) -> None:
    (check,) = rests(steps_of(SERVER, target), "HEALTHCHECK")
    given = dict(re.findall(r"--([\w-]+)=(\d+)s?(?= )", check))
    interval_s, timeout_s, start_s, retries = (
        int(given[name]) for name in ("interval", "timeout", "start-period", "retries")
    )
    assert (interval_s + timeout_s) * retries <= NOTICED_WITHIN_S
    assert start_s >= LOADS_WITHIN_S
    assert timeout_s > own_timeout_s()  # so that the check itself says why


def own_timeout_s() -> float:
    """For how long the check waits by itself."""
    spec = importlib.util.spec_from_file_location("healthcheck", DOCKER / "healthcheck.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return float(module.TIMEOUT_S)


@pytest.mark.parametrize(
    ("file", "target", "folder"), [(SERVER, "cpu", "/srv/data"), (TRAINING, "", "/srv/cache")]
)
def test_folder_for_data_is_its_users_alone(file: Path, target: str, folder: str) -> None:
    runs = " && ".join(rests(steps_of(file, target), "RUN"))
    (made,) = [
        one for one in runs.split(" && ") if one.startswith("install -d") and one.endswith(f" {folder}")
    ]
    (mode,) = re.findall(r"-m (\d+)", made)
    assert int(mode, 8) & 0o077 == 0
    assert "-o 10001 -g 10001" in made


@pytest.mark.parametrize(("file", "stage"), [(SERVER, "ours"), (TRAINING, "")])
def test_change_of_our_code_installs_nothing_of_others_again(file: Path, stage: str) -> None:
    steps = list(stages(file)[stage].steps)
    ours = [n for n, step in enumerate(steps) if step.word == "COPY" and is_code(step.rest)]
    installs = [
        n for n, step in enumerate(steps) if step.word == "RUN" and re.search(r" install .*-r ", step.rest)
    ]
    assert len(ours) >= 2
    assert installs
    assert max(installs) < min(ours)


def is_code(copied: str) -> bool:
    """Whether a source of the COPY is code of ours."""
    return any(word.endswith(("/src", "clients/python")) for word in copied.split()[:-1])
