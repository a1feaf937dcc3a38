"""Start `diptych serve` many times with one model repository, each time as a fork (see `forked`).

warm = WarmServers(model_repo, TINY)
server = warm.start(data_dir)             # no wait
url = server.url_when_ready()             # None when it ended before
server.kill(); server.wait()
"""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support.forked import Forked, shared_forks
from support.server import serve_command, url_when_ready


@dataclass(frozen=True)
class WarmServer:
    """One forked server."""

    process: Forked
    log_file: Path

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self.process.pid

    def url_when_ready(self) -> str | None:
        """Wait and return the URL; None if the server was killed before."""
        return url_when_ready(self.process, self.log_file)

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return the exit status, negative for a signal."""
        return self.process.wait()


@dataclass(frozen=True)
class WarmServers:
    """Servers of one model."""

    model_repo: Path
    model: str

    def start(
        self,
        data_dir: Path,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        constants: Mapping[str, float] | None = None,
        log_file: Path | None = None,
    ) -> WarmServer:
        """Fork a server. Its log is in its data folder unless `log_file` is given."""
        if log_file is None:
            data_dir.mkdir(parents=True, exist_ok=True)
            log_file = data_dir / "server.log"
        arguments = serve_command(self.model_repo, self.model, data_dir, *flags)
        return WarmServer(shared_forks().start(arguments, log_file, environment, constants), log_file)
