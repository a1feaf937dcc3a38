"""What Compose makes of the files, alone and on top of each other. Needs no engine, and starts nothing."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.tools import ROOT, run
from diptych.settings import Settings
from support.default_model import DEFAULT_MODEL
from support.documents import DOCS

MAIN = ("-f", "docker-compose.yml")
GPU = (*MAIN, "-f", "docker/compose.gpu.yml")
ALL = ("--profile", "train", "--profile", "observability", "--profile", "scale")
SERVERS = ("server-1", "server-2", "server-3")
LAST_WRITES_S = 15  # after the grace: docs/operations.md, "Stop in order"


def configured(*arguments: str, **variables: str) -> dict[str, Any]:
    """The services by the model that Compose makes of the files."""
    found: dict[str, Any] = yaml.safe_load(run("docker-compose", *arguments, "config", **variables))
    return dict(found["services"])


@pytest.mark.parametrize(
    ("profiles", "services"),
    [
        ((), {"server"}),
        (("train",), {"server", "train"}),
        (("observability",), {"server", "prometheus", "grafana"}),
        (("scale",), {"server", "proxy", *SERVERS, "database", "objects"}),
    ],
)
def test_profile_brings_its_services(profiles: tuple[str, ...], services: set[str]) -> None:
    flags = [word for profile in profiles for word in ("--profile", profile)]
    assert set(configured(*MAIN, *flags)) == services


def test_every_service_is_confined_bounded_and_on_loopback() -> None:
    for name, service in configured(*MAIN, *ALL).items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"].keys() >= {"memory", "pids"}, name
        assert service["restart"] == ("no" if name == "train" else "unless-stopped"), name
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}, name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name


def test_server_runs_as_the_caller_and_may_write_its_data_and_pushed_models_alone() -> None:
    server = configured(*MAIN, UID="1234", GID="77")["server"]
    assert server["user"] == "1234:77"
    mounted = {one["target"]: (one["source"], bool(one.get("read_only"))) for one in server["volumes"]}
    assert mounted == {
        "/srv/model_repo": (str(ROOT / "model_repo"), False),
        "/srv/gallery": (str(ROOT / "server" / "gallery"), True),
        "/srv/data": (str(ROOT / "data" / "server"), False),
    }


def test_documented_file_on_top_makes_the_models_read_only_again(tmp_path: Path) -> None:
    page = (DOCS / "containers.md").read_text(encoding="utf-8")
    (documented,) = re.findall(r"^```yaml\n(.*?read_only: true.*?)^```", page, re.M | re.S)
    on_top = tmp_path / "read-only.yml"
    on_top.write_text(documented)
    volumes = configured(*MAIN, "-f", str(on_top))["server"]["volumes"]
    (models,) = [one for one in volumes if one["target"] == "/srv/model_repo"]
    assert models["read_only"]
    assert len(volumes) == 3


def test_server_gets_the_time_that_its_end_takes_and_the_files_that_its_connections_open() -> None:
    server = configured(*MAIN)["server"]
    (minutes, seconds) = re.fullmatch(r"(?:(\d+)m)?(\d+)s", server["stop_grace_period"]).groups()  # type: ignore[union-attr]
    grace_s = int(server["environment"]["DIPTYCH_GRACE_S"])
    assert 60 * int(minutes or 0) + int(seconds) > grace_s + LAST_WRITES_S
    assert server["ulimits"]["nofile"]["soft"] >= 2 * Settings.model_fields["max_connections"].default


def test_limits_are_those_that_the_caller_gives() -> None:
    given = {"DIPTYCH_CPUS": "3", "DIPTYCH_MEMORY": "5g", "DIPTYCH_TRAINING_MEMORY": "6g"}
    services = configured(*MAIN, "--profile", "train", **given)
    limits = {name: services[name]["deploy"]["resources"]["limits"] for name in ("server", "train")}
    assert {name: (one["cpus"], one["memory"]) for name, one in limits.items()} == {
        "server": (3, str(5 * 2**30)),
        "train": (3, str(6 * 2**30)),
    }


def test_server_without_a_key_serves_only_where_nothing_says_how_it_is_published() -> None:
    assert configured(*MAIN)["server"]["command"] == ["serve", "--insecure"]
    published = configured(*MAIN, DIPTYCH_PUBLISH="0.0.0.0:80")["server"]
    assert published["command"] == ["serve", "--no-insecure"]
    assert [port["host_ip"] for port in published["ports"]] == ["0.0.0.0"]


def test_training_publishes_under_a_name_of_its_own_into_the_repository_that_is_served() -> None:
    services = configured(*MAIN, "--profile", "train", DIPTYCH_NAME="birds")
    assert services["server"]["environment"]["DIPTYCH_MODEL"] == DEFAULT_MODEL
    assert services["train"]["command"][-1] == "birds"
    assert services["train"]["environment"]["DIPTYCH_PRECISIONS"] == "fp32,int8"
    sources = [
        {one["source"] for one in services[name]["volumes"] if one["target"] == "/srv/model_repo"}
        for name in ("server", "train")
    ]
    assert sources[0] == sources[1]


def test_pictures_of_a_refresh_are_mounted_read_only_and_nothing_needs_them_otherwise() -> None:
    for given, source in (({}, ROOT / "model_repo"), ({"DIPTYCH_PICTURES": "./docs"}, ROOT / "docs")):
        train = configured(*MAIN, "--profile", "train", **given)["train"]
        (pictures,) = [one for one in train["volumes"] if one["target"] == "/srv/pictures"]
        assert (pictures["source"], pictures["read_only"]) == (str(source), True)
        assert train["environment"]["DIPTYCH_PICTURES"] == given.get("DIPTYCH_PICTURES", "")


def test_servers_of_one_database_share_all_but_their_data_folders() -> None:
    services = configured(
        *MAIN, "--profile", "scale", DIPTYCH_API_KEY="correct horse", DIPTYCH_SCALE_SECRET="s3cr"
    )
    replicas = [services[name] for name in SERVERS]
    folders = [
        {one["target"]: one["source"] for one in replica.pop("volumes")}["/srv/data"] for replica in replicas
    ]
    assert folders == [str(ROOT / "data" / "scale" / name) for name in SERVERS]
    assert replicas[0] == replicas[1] == replicas[2]
    environment = replicas[0]["environment"]
    assert environment["DIPTYCH_STORE"] == "postgresql://diptych:s3cr@database/diptych"
    assert services["database"]["environment"]["POSTGRES_PASSWORD"] == "s3cr"
    objects = services["objects"]["environment"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert environment[name] == objects[name]
    assert environment["DIPTYCH_ORIGINALS"].split("/")[2] == objects["S3_BUCKET"]
    settings = {name.removeprefix("DIPTYCH_").lower(): value for name, value in environment.items()
                if name.startswith("DIPTYCH_") and value}  # fmt: skip
    assert Settings(**settings).originals_bucket == environment["DIPTYCH_ORIGINALS"]


def test_database_and_objects_are_reached_by_the_servers_of_the_profile_alone() -> None:
    found = yaml.safe_load(run("docker-compose", *MAIN, *ALL, "config"))
    assert found["networks"]["scale"]["internal"]
    inside = {name for name, one in found["services"].items() if "scale" in one["networks"]}
    assert inside == {*SERVERS, "database", "objects"}
    for name in ("database", "objects"):
        assert list(found["services"][name]["networks"]) == ["scale"]
        assert "ports" not in found["services"][name]


def test_proxy_spreads_requests_over_the_servers_of_the_profile(tmp_path: Path) -> None:
    services = configured(*MAIN, "--profile", "scale", DIPTYCH_PUBLISH="0.0.0.0:80")
    proxy = services["proxy"]
    assert proxy["depends_on"].keys() == set(SERVERS)
    assert [port["host_ip"] for port in proxy["ports"]] == ["0.0.0.0"]
    assert all(services[name]["command"] == ["serve", "--no-insecure"] for name in SERVERS)
    (script,) = proxy["command"]
    edit = script.partition("exec nginx")[0].replace(
        "/etc/nginx/diptych.conf", str(ROOT / "docker" / "nginx.conf")
    )
    made = tmp_path / "nginx.conf"
    subprocess.run(["/bin/sh", "-c", edit.replace("/tmp/nginx.conf", str(made))], check=True)
    text = made.read_text()
    assert re.findall(r"server ([a-z0-9-]+:8000);", text) == [f"{name}:8000" for name in SERVERS]
    (port,) = re.findall(r"listen (\d+);", text)
    assert int(port) == proxy["ports"][0]["target"]
    made.write_text(re.sub(r"server server-(\d)", r"server 127.0.0.\1", text))  # names of the network
    run("nginx", "-t", "-c", str(made), "-g", f"pid {tmp_path}/pid;")


def test_key_reaches_the_server_and_its_scraper() -> None:
    services = configured(*MAIN, "--profile", "observability", DIPTYCH_API_KEY="correct horse")
    keys = {services[name]["environment"]["DIPTYCH_API_KEY"] for name in ("server", "prometheus")}
    assert keys == {"correct horse"}
    # Compose's own escape: the shell in the container reads the variable, not Compose.
    assert "$$DIPTYCH_API_KEY" in services["prometheus"]["command"][0]


def test_gpu_file_changes_image_device_and_nothing_that_confines() -> None:
    with_gpu = configured(*GPU, "--profile", "train")
    without = configured(*MAIN, "--profile", "train")
    assert (with_gpu["server"]["image"], with_gpu["server"]["build"]["target"]) == (
        "diptych-server:gpu",
        "gpu",
    )
    for name in ("server", "train"):
        assert with_gpu[name]["environment"]["DIPTYCH_DEVICE"] == "cuda"
        assert with_gpu[name]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
        for key in ("read_only", "cap_drop", "security_opt", "user", "volumes", "tmpfs"):
            assert with_gpu[name][key] == without[name][key]
