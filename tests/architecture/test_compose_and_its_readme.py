"""What the compose files do by default, beside what docker/README.md says of it."""

import re

import pytest

from architecture.test_container_files import COMPOSE_FILES, DOCKER, services
from diptych.settings import Settings
from support.dockerfiles import environment, steps_of

README = (DOCKER / "README.md").read_text(encoding="utf-8")
TEXT = "\n".join(file.read_text(encoding="utf-8") for file in COMPOSE_FILES)
NAMES = ("server", "train", "prometheus", "grafana")
SECONDS = {"s": 1, "m": 60}


def seconds(duration: str) -> int:
    """`50s`, `2m`."""
    return int(duration[:-1]) * SECONDS[duration[-1]]


def defaults_in_readme() -> dict[str, str]:
    """Variable -> what its row says: `3g`, `0: all`; those that share a row have one default or one each."""
    found = {}
    rows = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \| ([^|]*)\| [^|]+ \|$", README, flags=re.MULTILINE)
    for names, cell in rows:
        variables = re.findall(r"`(\w+)`", names)
        given = [one.strip().strip("`") for one in cell.split(",")]
        found |= dict(zip(variables, given * (len(variables) // len(given)), strict=True))
    return found


def test_defaults_of_the_variables_are_those_that_the_readme_gives() -> None:
    found = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", TEXT))
    said = defaults_in_readme()
    assert said.keys() - found.keys() == set()
    # An index of torch is called by its CUDA there.
    assert (said.pop("TORCH_INDEX"), found.pop("TORCH_INDEX").rpartition("/")[2]) == ("CUDA 13.0", "cu130")
    # What follows a colon explains a number.
    plain = {name: re.sub(r"^(\d+): .*", r"\1", value) for name, value in said.items()}
    assert plain == {name: found[name] for name in plain}
    assert found.keys() - plain.keys() == set()


def test_a_variable_has_one_default_wherever_it_stands() -> None:
    every = re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", TEXT)
    assert len(set(every)) == len({name for name, _ in every})


@pytest.mark.parametrize("name", ["server", "train"])
def test_nothing_of_ours_runs_as_root_by_default(name: str) -> None:
    users = re.findall(r"\d+", services()[name]["user"])
    assert len(users) == 2
    assert "0" not in users


def test_training_takes_as_long_as_the_other_pages_say() -> None:
    pages = ("docker/README.md", "README.md", "Makefile")
    texts = [(DOCKER.parent / page).read_text(encoding="utf-8") for page in pages]
    said = [re.findall(r"([\w ]+? hours)(?: of steps)? on two cores", text) for text in texts]
    assert [[hours.strip() for hours in each] for each in said] == [["two and a half hours"]] * len(pages)


@pytest.mark.parametrize("name", NAMES)
def test_logs_of_every_service_are_rotated(name: str) -> None:
    logging = services()[name]["logging"]
    assert logging["driver"] == "json-file"  # which knows these two options
    size = re.fullmatch(r"(\d+)m", logging["options"]["max-size"])
    assert size is not None
    assert int(size[1]) * int(logging["options"]["max-file"]) <= 100  # MB


@pytest.mark.parametrize("name", NAMES)
def test_no_service_has_another_health_check_than_its_image(name: str) -> None:
    assert "healthcheck" not in services()[name]


@pytest.mark.parametrize(
    ("name", "variable"), [("server", "DIPTYCH_MEMORY"), ("train", "DIPTYCH_TRAINING_MEMORY")]
)
def test_limits_of_processors_and_memory_are_given_by_the_variables_of_the_readme(
    name: str, variable: str
) -> None:
    limits = services()[name]["deploy"]["resources"]["limits"]
    assert limits["cpus"].startswith("${DIPTYCH_CPUS:-")
    assert limits["memory"].startswith(f"${{{variable}:-")


def test_training_gets_the_time_that_a_checkpoint_may_take_by_the_readme() -> None:
    (said_s,) = re.findall(r"`docker stop -t (\d+) training`", README)
    assert seconds(services()["train"]["stop_grace_period"]) == int(said_s)


def test_server_gets_the_time_to_stop_that_the_readme_gives_it() -> None:
    grace_s = seconds(services()["server"]["stop_grace_period"])
    assert f"Compose kills it after {grace_s} s" in " ".join(README.split())
    assert f"--stop-timeout {grace_s} " in README


def test_room_in_memory_for_files_of_sqlite_is_what_the_readme_says() -> None:
    (said_mb,) = re.findall(r"`/tmp` \((\d+)\s+MB, in memory\)", README)
    (tmp,) = services()["server"]["tmpfs"]
    assert tmp == f"/tmp:size={said_mb}m,mode=1777"


def test_cpu_file_builds_the_target_that_its_image_is_called_by() -> None:
    server = services()["server"]
    assert server["image"] == f"diptych-server:{server['build']['target']}"
    assert server["build"]["target"] == "cpu"
    # Nothing in it asks for a GPU: that is what the file on top is for.
    assert "devices" not in COMPOSE_FILES[0].read_text(encoding="utf-8")


def test_what_is_watched_outlives_its_container() -> None:
    kept = {
        name: {one["target"] for one in services()[name]["volumes"] if one["type"] == "volume"}
        for name in ("prometheus", "grafana")
    }
    (path,) = re.findall(r"--storage\.tsdb\.path=(\S+)", services()["prometheus"]["command"][0])
    assert kept == {"prometheus": {path}, "grafana": {"/var/lib/grafana"}}  # the latter by its image


def test_prometheus_has_no_rights_and_a_bounded_memory_of_what_it_saw_and_ends_in_order() -> None:
    service = services()["prometheus"]
    assert service["user"] == "nobody"
    (days,) = re.findall(r"--storage\.tsdb\.retention\.time=(\d+)d", service["command"][0])
    assert int(days) <= 31
    assert seconds(service["stop_grace_period"]) >= 30  # it writes what it holds in memory


def test_training_keeps_and_publishes_in_the_folders_that_are_mounted() -> None:
    image = environment(steps_of(DOCKER / "training.Dockerfile", ""))
    mounted = {one["target"] for one in services()["train"]["volumes"]}
    assert mounted == {image["DIPTYCH_CACHE"], image["DIPTYCH_MODEL_REPO"]}


def test_server_may_not_write_the_models_that_it_serves_or_the_gallery() -> None:
    server = services()["server"]
    read_only = {one["target"] for one in server["volumes"] if one.get("read_only")}
    models = environment(steps_of(DOCKER / "server.Dockerfile", "cpu"))["DIPTYCH_MODEL_REPO"]
    assert read_only == {models, server["environment"]["DIPTYCH_GALLERY"]}


def test_connections_of_the_server_fit_into_the_files_that_it_may_open() -> None:
    limits = services()["server"]["ulimits"]["nofile"]
    assert 2 * Settings.model_fields["max_connections"].default <= limits["soft"] <= limits["hard"]
