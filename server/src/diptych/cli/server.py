"""Run the HTTP server in this process until it is told to stop. Knows no route."""

import logging
import signal
import socket
from collections.abc import Sequence

import uvicorn

from diptych.cli.gallery import Gallery
from diptych.cli.last_exit import LastExit
from diptych.cli.logs import configure_logging
from diptych.core.services import Services
from diptych.errors import ConfigError, DiptychError
from diptych.http.app import Background, create_app
from diptych.http.options import HttpOptions
from diptych.settings import Settings
from diptych.wiring import check_choice, limits_of, load

LOG = logging.getLogger("diptych")
KEEP_ALIVE_S = 30


def serve(settings: Settings) -> int:
    """The exit status: 0 when it was told to stop, 1 when the model could not be loaded.

    Raises ConfigError and BundleError for what is known to be wrong before anything is loaded.
    """
    configure_logging(settings.log_format)
    check_choice(settings)
    background: list[Background] = [] if settings.gallery is None else [Gallery(settings.gallery).fill]
    with _listen(settings.host, settings.port) as listener:
        return _Server(settings, listener, background).run()


class _Server:
    """One uvicorn, told to stop when loading fails."""

    def __init__(self, settings: Settings, listener: socket.socket, background: Sequence[Background]) -> None:
        self._settings = settings
        self._listener = listener
        self._failed = False
        self._last_exit = LastExit(self._leave, settings.grace_s)
        host, port = listener.getsockname()[:2]
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        app = create_app(self._load, _http_options(settings), on_failure=self._give_up, background=background)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="on",
                ws="none",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=self._settings.grace_s,
            )
        )

    def run(self) -> int:
        LOG.info("listening, loading the model", extra={"fields": {"url": self._url}})
        # uvicorn handles these while it runs and raises them again when it is done: a stop that was asked
        # for is no failure, so nothing more happens then.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        self._uvicorn.run(sockets=[self._listener])
        LOG.info("stopped")
        self._last_exit.exit_if_lost()
        return 1 if self._failed else 0

    async def _load(self) -> Services:
        services = await load(self._settings, self._last_exit.lost)
        model = services.model
        fields = {
            "model": model.name,
            "version": model.version,
            "precision": model.precision,
            "decode": model.decode,
            "collection_precision": services.collection_model.precision,
            "provider": model.provider,
            "data_dir": str(self._settings.data_dir.absolute()),
            "url": self._url,
        }
        LOG.info("ready", extra={"fields": fields})
        return services

    def _give_up(self, error: BaseException) -> None:
        self._failed = True
        self._uvicorn.should_exit = True
        if isinstance(error, DiptychError):
            LOG.error("cannot serve: %s", error)
        else:
            LOG.error("cannot serve", exc_info=error)

    def _stop(self, number: int, frame: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._uvicorn.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before the model is loaded: a taken port is known at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


def _http_options(settings: Settings) -> HttpOptions:
    return HttpOptions(
        host=settings.host,
        allowed_hosts=settings.allowed_hosts,
        api_key=None if settings.api_key is None else settings.api_key.get_secret_value(),
        default_collection=settings.default_collection,
        body_timeout_s=settings.body_timeout_s,
        max_inflight_body_bytes=settings.max_inflight_body_bytes,
        limits=limits_of(settings),
    )
