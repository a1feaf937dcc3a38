"""What Compose says of a service, put into what runs an image here. Knows nothing of what the services do.

Left out is what takes an engine: limits of memory, processors and processes, networks and published ports.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deployment.rootless.building import AUTHORITIES, Image
from deployment.rootless.running import Contained, Mount, Terms, start
from deployment.tools import ROOT, run

# An engine brings names into a container; whom this machine trusts, the images do not know.
OF_THE_MACHINE = ("/etc/resolv.conf", "/etc/hosts", str(AUTHORITIES))


@dataclass(frozen=True)
class Service:
    """An image as a service has it: user, command, variables, mounts, what it may and how it ends."""

    image: Image
    mounts: tuple[Mount, ...]
    terms: Terms

    def start(self, log_file: Path, **variables: str) -> Contained:
        """What `docker compose up` or `run` starts."""
        return start(self.image, self.mounts, log_file, variables, terms=self.terms)


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
    mounts = (*memory, *_shared(said), *_bound(said), *_machine())
    return Service(replace(image, config=config), mounts, terms_of(said))


def terms_of(said: Mapping[str, Any]) -> Terms:
    """What the service may, and how it is ended; without a word of it, as an engine does by itself."""
    return Terms(
        read_only=said.get("read_only", False),
        no_capabilities=said.get("cap_drop") == ["ALL"] and not said.get("cap_add"),
        no_new_privileges="no-new-privileges:true" in said.get("security_opt", []),
        stop_signal=said.get("stop_signal", ""),
        stop_grace_s=seconds(said.get("stop_grace_period", "10s")),
    )


def seconds(period: str) -> int:
    """`2m0s` -> 120."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", period)
    assert found, period
    hours, minutes, rest = (int(one or 0) for one in found.groups())
    return 3600 * hours + 60 * minutes + rest


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
