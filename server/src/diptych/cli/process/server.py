"""Run the HTTP server in this process until it is asked to stop."""

import errno
import logging
import math
import os
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from diptych.cli.output.console import out
from diptych.cli.process.descriptors import max_connections_within
from diptych.cli.process.first_steps import first_steps
from diptych.cli.process.gallery import Gallery
from diptych.cli.process.logs import configure_logging
from diptych.cli.process.variables import warn_of_unknown
from diptych.cli.process.watchdog import Watchdog
from diptych.core.keys.service import Keys
from diptych.core.ports import Reason
from diptych.core.services import Services
from diptych.errors import ConfigError, DiptychError
from diptych.http.app import create_app
from diptych.http.options import HttpOptions
from diptych.http.server.connection import connection_class
from diptych.http.server.graceful_stop import GracefulServer
from diptych.http.state import ServerState
from diptych.settings import Settings
from diptych.wiring.assemble import limits_of
from diptych.wiring.fetching import max_open_sockets
from diptych.wiring.keys import open_keys
from diptych.wiring.loading.version_choice import check_choice
from diptych.wiring.services import load

LOG = logging.getLogger("diptych")
# A client that takes nothing for a minute is gone, or holds a connection and a response in memory for no use.
WRITE_TIMEOUT_S = 60.0
# The address for clients on this machine, of a server that listens on all addresses.
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not listened on


def serve(settings: Settings) -> int:
    """Serve, and return the exit status: 0 after a signal, 1 if the model could not be loaded.

    Raises ConfigError and BundleError for errors that are found before anything is loaded.
    """
    configure_logging(settings.log_format)
    warn_of_unknown(os.environ)
    check_choice(settings)
    _check_tls(settings)
    keys = open_keys(settings)
    gallery = None if settings.gallery is None or settings.read_only else Gallery(settings.gallery)
    if settings.read_only and settings.gallery:
        LOG.info("DIPTYCH_GALLERY has no effect: the server is read-only")
    with _listen(settings) as listener:
        port = listener.getsockname()[1]
        return _Server(settings.model_copy(update={"port": port}), listener, keys, gallery).run()


class _Server:
    """One server. It stops by itself when loading fails."""

    def __init__(
        self, settings: Settings, listener: socket.socket, keys: Keys, gallery: Gallery | None
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._listener = listener
        self._gallery = gallery
        self._url = _url(settings, *listener.getsockname()[:2])
        app = create_app(
            self._load,
            _http_options(settings),
            accepted_keys=keys,
            on_failure=self._give_up,
            background=[self._welcome],
        )
        state: ServerState = app.state.diptych
        config = _uvicorn_config(app, settings, state.count_rejected)
        self._server = GracefulServer(config, state.in_flight, settings.grace_s)
        self._watchdog = Watchdog(self._server.request_stop, self._server.ends_within_s)

    def run(self) -> int:
        LOG.info("listening, loading the model", extra={"fields": {"url": self._url}})
        self._server.install_signal_handlers()
        self._server.run(sockets=[self._listener])
        self._watchdog.exit_if_hanging()
        return self._server.status

    async def _load(self) -> Services:
        services = await load(self._settings, self._on_stuck)
        model = services.serving.current.version.model
        fields = {
            "model": model.name,
            "version": model.version,
            "precision": model.precision,
            "decode": model.decode,
            "provider": model.provider,
            "data_dir": str(self._settings.data_dir.absolute()),
            "url": self._url,
        }
        LOG.info("ready", extra={"fields": fields})
        return services

    async def _welcome(self, services: Services) -> None:
        """Fill the gallery, then print the first steps, which include a search over the gallery."""
        if self._gallery is not None:
            await self._gallery.fill(services)
        self._print_first_steps()

    def _print_first_steps(self) -> None:
        """Print what to try first, unless the log is JSON: then no person reads the output."""
        if self._settings.log_format == "json":
            return
        sample = None if self._gallery is None else self._gallery.sample
        host, port = self._listener.getsockname()[:2]
        url = _url(self._settings, LOOPBACK_OF.get(host, host), port)
        lines = first_steps(url, sample, needs_key=self._keys.required, read_only=self._settings.read_only)
        with suppress(OSError, AttributeError):  # nobody reads: stdout may be closed or None
            for line in lines:
                out(line)
            sys.stdout.flush()

    def _give_up(self, error: BaseException) -> None:
        self._server.status = 1
        self._server.request_stop()
        if isinstance(error, DiptychError):
            LOG.error("cannot serve: %s", error)
        else:
            LOG.error("cannot serve", exc_info=error)

    def _on_stuck(self, reason: str) -> None:
        self._server.status = 1
        self._watchdog.report_hang(reason)


def _uvicorn_config(app: FastAPI, settings: Settings, count: Callable[[Reason], None]) -> uvicorn.Config:
    n_connections = max_connections_within(settings.max_connections, max_open_sockets(settings))
    return uvicorn.Config(
        app,
        http=connection_class(replace(limits_of(settings), max_connections=n_connections), count),
        lifespan="on",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        timeout_keep_alive=math.ceil(settings.keep_alive_s),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=None if settings.tls_key is None else str(settings.tls_key),
    )


def _check_tls(settings: Settings) -> None:
    """Raise ConfigError for files of TLS that uvicorn could not use; it would ask for a password."""
    if settings.tls_cert is None:
        return

    files = f"{settings.tls_cert} with the key {settings.tls_key}"

    def refuse_password() -> bytes:
        raise ConfigError(
            f"TLS cannot use {files}: the key has a password, which is not supported; "
            "`openssl pkey -in KEY -out NEW_KEY` writes it without one"
        )

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key, refuse_password)
    except OSError as error:  # SSLError is one
        reason = error.strerror or getattr(error, "reason", None) or "not a certificate and its key"
        raise ConfigError(f"TLS cannot use {files}: {reason}") from error


def _url(settings: Settings, host: str, port: int) -> str:
    scheme = "http" if settings.tls_cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _listen(settings: Settings) -> socket.socket:
    """Return a listening socket. It is bound before the model is loaded, so a taken port is reported at once.

    Its connections inherit how long the system keeps data that the client does not take.
    """
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason = "another program, perhaps diptych, uses it: choose another port with --port"
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}") from error
    if sys.platform == "linux":
        unread_ms = math.ceil(WRITE_TIMEOUT_S * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_ms)
    return listener


def _http_options(settings: Settings) -> HttpOptions:
    return HttpOptions(
        host=settings.host,
        allowed_hosts=settings.allowed_hosts,
        cors_origins=settings.cors_origins,
        metrics_access=settings.metrics_access,
        docs_access=settings.docs_access,
        read_only=settings.read_only,
        default_collection=settings.default_collection,
        limits=limits_of(settings),
    )
