"""What Compose says of a service, put into what runs an image here. Knows nothing of what the services do.

Left out is what takes an engine: limits of memory and processes, networks and published ports.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deployment.rootless.building import AUTHORITIES, Image
from deployment.rootless.running import Contained, Mount, start
from deployment.tools import ROOT, run

# An engine brings names into a container; whom this machine trusts, the images do not know.
OF_THE_MACHINE = ("/etc/resolv.conf", "/etc/hosts", str(AUTHORITIES))


@dataclass(frozen=True)
class Service:
    """An image as a service has it: user, command, variables, and what is mounted."""

    image: Image
    mounts: tuple[Mount, ...]

    def start(self, log_file: Path, **variables: str) -> Contained:
        """What `docker compose up` or `run` starts."""
        return start(self.image, self.mounts, log_file, variables)


def read_services(project: Path, **variables: str) -> dict[str, Any]:
    """All services of the profile `train`, as Compose reads them for a checkout that lies in `project`."""
    printed = run(
        "docker-compose", "--project-directory", project, "--file", ROOT / "docker-compose.yml",
        "--profile", "train", "config", "--format", "json", **variables,
    )  # fmt: skip
    services: dict[str, Any] = json.loads(printed)["services"]
    return services


def compose(image: Image, said: Mapping[str, Any]) -> Service:
    """The image as the service says it."""
    assert said["read_only"]
    # npm does not ask the system whom to trust.
    trust = f"NODE_EXTRA_CA_CERTS={AUTHORITIES}"
    variables = [f"{name}={value}" for name, value in said.get("environment", {}).items()]
    config = {
        **image.config,
        "User": said["user"],
        "Entrypoint": said["entrypoint"] or image.config["Entrypoint"],
        "Cmd": said["command"],
        "Env": [*image.config["Env"], trust, *variables],
    }
    memory = [Mount(*one.split(":", 1)) for one in said["tmpfs"]]
    return Service(replace(image, config=config), (*memory, *_shared(said), *_bound(said), *_machine()))


def _shared(said: Mapping[str, Any]) -> list[Mount]:
    size = said.get("shm_size", 64 << 20)  # an engine's own default
    return [Mount("/dev/shm", options=f"size={size},mode=1777")]


def _bound(said: Mapping[str, Any]) -> list[Mount]:
    return [
        Mount(one["target"], source=Path(one["source"]), read_only=one.get("read_only", False))
        for one in said["volumes"]
    ]


def _machine() -> list[Mount]:
    return [Mount(path, source=Path(path), read_only=True) for path in OF_THE_MACHINE]
