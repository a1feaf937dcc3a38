"""The settings of the server, read and validated once from the command line and the environment.

Only `cli` and `wiring` read them; they hand plain values on to the other packages.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from diptych.adapters.files.key_file import KEY_FILE
from diptych.adapters.installed_models import installed_model
from diptych.bundle.image.preprocess import DecodeMode
from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.bundle.repository import SHIPPED_NAME
from diptych.core.collections.stored.ids import check_collection_name
from diptych.core.fetching.host_rules import OFF, parse_host_rules
from diptych.core.limits import Limits
from diptych.core.types import ExifLevel
from diptych.errors import ConfigError, InvalidValue

PREFIX = "DIPTYCH_"
AUTO: Final = "auto"  # of a precision or device: chosen at each start
OBJECT_STORE: Final = "s3://"  # of an address of originals
Device = Literal["auto", "cpu", "cuda"]
MIN_KEY_CHARS = 8
_LIMITS = Limits()
MetricsAccess = Literal["key", "public", "off"]
DocsAccess = Literal["public", "key", "off"]
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def default_data_dir() -> Path:
    """The default data folder: $XDG_STATE_HOME/diptych, or ~/.local/state/diptych without the variable."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "diptych"


def default_cache_dir() -> Path:
    """The default cache folder: $XDG_CACHE_HOME/diptych, or ~/.cache/diptych without the variable.

    For a user without a home folder, as in a container, it is in the folder for temporary files.
    """
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "diptych"
    try:
        return Path.home() / ".cache" / "diptych"
    except RuntimeError:
        return Path(gettempdir()) / "diptych"


def is_service_address(value: str) -> bool:
    """Whether the value is one that Kubernetes gives `<SERVICE>_PORT`, such as tcp://10.0.0.1:8000."""
    return re.match(r"(tcp|udp|sctp)://", value) is not None


class _Environment(EnvSettingsSource):
    """The environment variables, except a DIPTYCH_PORT that Kubernetes sets for a Service named `diptych`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value, key, is_complex = super().get_field_value(field, field_name)
        is_service = field_name == "port" and isinstance(value, str) and is_service_address(value)
        return None if is_service else value, key, is_complex


class Settings(BaseSettings):
    """The immutable settings. Each can also be set by the environment variable DIPTYCH_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    # network
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    api_key: SecretStr | None = Field(
        None,
        description=f"an API key with all rights, at least {MIN_KEY_CHARS} characters; "
        "`diptych keys` makes others",
    )
    key_file: Path | None = Field(
        None, description="file of API keys; if unset, `keys.json` in the data folder"
    )
    insecure: bool = Field(False, description="allow a host other than loopback without an API key")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="additional host names of this server, separated by commas"
    )

    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins of web pages that may call the server, such as https://app.example, separated "
        "by commas",
    )
    tls_cert: Path | None = Field(
        None, description="file of the TLS certificate and its chain, as PEM; with it the server speaks HTTPS"
    )
    tls_key: Path | None = Field(
        None, description="file of the private key of the TLS certificate, as PEM without a password"
    )
    metrics_access: MetricsAccess = Field(
        "key",
        description="who gets `/metrics`; key: a key that sees all collections, if the server needs keys; "
        "public: everyone; off: nobody",
    )
    docs_access: DocsAccess = Field(
        "public",
        description="who gets `/docs` and `/openapi.json`; key: any key, if the server needs keys; "
        "public: everyone; off: nobody",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded-For is trusted, separated by commas",
    )

    # model
    model_repo: Path = Field(
        Path("model_repo"),
        description="folder of model bundles, <name>/<version>/; if unset and not there, "
        "that of a model that is installed as a package",
    )
    model: str = Field(
        SHIPPED_NAME,
        description="name of the model to serve; what was activated since then is served "
        "until a start is given another name",
    )
    version: int | None = Field(
        None,
        ge=1,
        description="version to serve and to stay on; if unset, a new data folder serves the newest "
        "that this machine can serve, and `rollout` says what happens then",
    )
    rollout: Literal["latest", "manual"] = Field(
        "latest",
        description="when the server moves to a new version of the model that it serves; latest: as soon as "
        "it appears in the model repository; manual: when it is activated",
    )
    min_overlap: float | None = Field(
        None,
        ge=0,
        le=1,
        description="mean overlap@10 of old and new searches below which a rollout fails; "
        "if unset, it is reported only",
    )
    poll_s: float = Field(
        2.0, gt=0, description="seconds between two looks for new versions in the model repository"
    )
    precision: str = Field(
        AUTO,
        description="precision of all vectors; auto: the one that the data folder records, in a new one the "
        "most exact that reaches two thirds of the speed of the fastest",
    )
    device: Device = Field(
        "auto", description="device of the encoders: cpu, cuda, or auto: a GPU if one can be used"
    )
    index_device: Device = Field(
        "auto", description="device that searches collections: cpu, cuda, or auto: a GPU if faiss can use one"
    )
    index: Literal["auto", "exact"] = Field(
        "auto",
        description="how collections are searched; auto: from 100,000 images on by an approximate index "
        "whose recall is measured; exact: every search compares all images",
    )
    tensorrt: Literal["off", "auto"] = Field(
        "off",
        description="TensorRT on a GPU; off: not used; auto: used if `diptych check --tensorrt` has built "
        "its engines here, else CUDA serves",
    )
    decode: DecodeMode = Field(
        "exact",
        description="how images are decoded; exact: at full size; fast: large JPEGs at a reduced size, "
        "which changes their vectors",
    )
    allow_ungated: bool = Field(
        False, description="serve bundles whose parity with the trained model was not proven"
    )

    # storage
    data_dir: Path = Field(
        default_factory=default_data_dir, description="folder of collections, images and jobs"
    )
    store: SecretStr | None = Field(
        None,
        description="PostgreSQL database of collections, jobs and rollouts, as postgresql://USER@HOST/NAME; "
        "originals stay in the data folder; if unset, all is in the data folder",
    )
    originals: str | None = Field(
        None,
        description="where all servers of a PostgreSQL database keep image files, as file:///FOLDER or "
        "s3://BUCKET/PREFIX; if unset, they are in the data folder, and one server can use the database",
    )
    cache_dir: Path = Field(
        default_factory=default_cache_dir,
        description="folder of files that can be rebuilt, such as TensorRT engines",
    )
    read_only: bool = Field(
        False,
        description="write nothing to the data folder and refuse every change, so that the folder may be one "
        "that this user may only read; with DIPTYCH_STORE, write nothing to database and originals",
    )
    max_data_bytes: int | None = Field(
        None,
        ge=1,
        description="maximum bytes of files, database and log in the data folder; no limit if unset",
    )
    default_collection: str = Field("default", description="collection for requests that name none")
    exif: ExifLevel = Field(
        "basic",
        description="what the server reads from the EXIF of image files, into their metadata under `exif`; "
        "basic: time, camera and lens; place: latitude and longitude too; none: nothing",
    )
    libraries: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="folders of pictures that stay where they are, each as NAME=FOLDER, separated by commas; "
        "the server only reads them, and keeps the collection NAME in step",
    )
    gallery: Path | None = Field(
        None,
        description="folder of pictures with an `items.jsonl`, which are added to the collection `gallery`; "
        "off: none; if unset, that of a model that is installed as a package",
    )

    # fetching
    image_urls: str = Field(
        OFF,
        description="hosts that images may be fetched from, separated by commas; "
        "public: any public host; off: none",
    )

    # resources and timeouts
    n_threads: int = Field(
        0,
        ge=0,
        description="number of threads that encode, and of threads that decode images; 0: one per core",
    )
    n_lanes: int = Field(
        0, ge=0, description="number of batches that are encoded in parallel; 0: measured at the start"
    )
    max_batch_size: int = Field(
        0, ge=0, le=1024, description="maximum items in one batch; 0: measured at the start"
    )
    max_queue_items: int = Field(1024, ge=1, description="maximum items that wait for one encoder")
    max_inflight_body_bytes: int = Field(
        _LIMITS.max_inflight_body_bytes,
        ge=1,
        description="maximum bytes of all request bodies held at once, and that wait for one encoder",
    )
    max_connections: int = Field(_LIMITS.max_connections, ge=1, description="maximum open connections")
    request_timeout_s: float = Field(
        _LIMITS.request_timeout_s,
        gt=0,
        description="seconds from the head of a request to its response, after which the server answers 504",
    )
    keep_alive_s: float = Field(
        30.0, gt=0, description="seconds that a connection may be idle between two requests"
    )
    grace_s: int = Field(
        30, ge=0, description="seconds that running requests have to finish when the server stops"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="format of the log; auto: text on a terminal, else json"
    )

    # limits on one request
    max_image_bytes: int = Field(_LIMITS.max_image_bytes, ge=1, description="maximum bytes of one image file")
    # The upper bound is Pillow's MAX_IMAGE_PIXELS, above which the decoder itself refuses an image.
    max_image_px: int = Field(
        _LIMITS.max_image_px, ge=1, le=89_478_485, description="maximum pixels of one image"
    )
    max_items: int = Field(
        _LIMITS.max_items, ge=1, description="maximum items in one request to /embed or /classify"
    )
    max_job_items: int = Field(_LIMITS.max_job_items, ge=1, description="maximum images in one job")
    max_bundle_bytes: int = Field(
        _LIMITS.max_bundle_bytes, ge=1, description="maximum bytes of one pushed model version, as an archive"
    )
    max_labels: int = Field(
        _LIMITS.max_labels, ge=1, description="maximum labels in one request to /classify"
    )
    max_body_bytes: int = Field(
        _LIMITS.max_body_bytes,
        ge=1,
        le=_LIMITS.max_job_bytes,
        description="maximum bytes of one request body",
    )
    max_k: int = Field(_LIMITS.max_k, ge=1, description="maximum hits in one response of /search")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources of settings: first the command line, then the environment."""
        return init_settings, _Environment(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("allowed_hosts", "cors_origins", "trusted_proxies", "libraries"):
            value = values.get(name)
            if isinstance(value, str):
                values[name] = tuple(one.strip() for one in value.split(",") if one.strip())
        return values

    @field_validator("precision")
    @classmethod
    def _require_known_precision(cls, precision: str) -> str:
        if precision not in {AUTO, *COSINE_BOUNDS}:
            raise ValueError(f"must be {AUTO} or one of {', '.join(COSINE_BOUNDS)}")
        return precision

    @field_validator("trusted_proxies")
    @classmethod
    def _require_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for one in proxies:
            try:
                ipaddress.ip_network(one)
            except ValueError as error:
                raise ValueError(f"must be addresses or networks: {error}") from None
        return proxies

    @field_validator("cors_origins")
    @classmethod
    def _require_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for one in origins:
            if not _ORIGIN.fullmatch(one):
                raise ValueError(
                    f"{one[:100]!r} is no origin: write scheme, host and port as browsers send them, such as "
                    "https://app.example or http://localhost:3000"
                )
        return origins

    @field_validator("api_key")
    @classmethod
    def _require_header_value(cls, key: SecretStr | None) -> SecretStr | None:
        if key is None:
            return None
        text = key.get_secret_value()
        if len(text) < MIN_KEY_CHARS:
            raise ValueError(f"needs at least {MIN_KEY_CHARS} characters, this key has {len(text)}")
        if not text.isascii() or not text.isprintable() or text != text.strip():
            raise ValueError(
                "must be printable ASCII without a space at either end, because it is sent in a header"
            )
        return key

    @field_validator("store")
    @classmethod
    def _require_url_of_postgres(cls, store: SecretStr | None) -> SecretStr | None:
        if store is None or store.get_secret_value().startswith(("postgresql://", "postgres://")):
            return store
        raise ValueError("must be postgresql://USER@HOST/NAME; a password can come from ~/.pgpass")

    @field_validator("originals")
    @classmethod
    def _require_url_of_originals(cls, originals: str | None) -> str | None:
        if originals is None or re.fullmatch(r"file:///[^?#%]+", originals):
            return originals
        if re.fullmatch(
            rf"{OBJECT_STORE}[a-z0-9][a-z0-9.-]+[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?", originals
        ):
            return originals
        raise ValueError(
            "must be file:///FOLDER, with the path of a folder as it is, or s3://BUCKET/PREFIX; the key of a "
            "bucket can come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )

    @field_validator("image_urls")
    @classmethod
    def _require_readable_hosts(cls, text: str) -> str:
        try:
            parse_host_rules(text)
        except ConfigError as error:
            raise ValueError(error.message) from None
        return text

    @field_validator("libraries")
    @classmethod
    def _require_names_and_folders(cls, libraries: tuple[str, ...]) -> tuple[str, ...]:
        names = [one.partition("=")[0] for one in libraries]
        for one, name in zip(libraries, names, strict=True):
            try:
                check_collection_name(name)
            except InvalidValue as error:
                raise ValueError(f"must be NAME=FOLDER, such as photos=/home/ann/Pictures: {error}") from None
            if not one.partition("=")[2]:
                raise ValueError(f"library {name!r} has no folder: write {name}=FOLDER")
            if names.count(name) > 1:
                raise ValueError(f"library {name!r} is named twice: give each folder a name of its own")
        return libraries

    @field_validator("gallery", mode="before")
    @classmethod
    def _read_off(cls, gallery: object) -> object:
        return None if gallery == OFF else gallery

    @property
    def originals_bucket(self) -> str | None:
        """The address of the object store of `images` and `thumbnails`; None if they are in a folder."""
        return self.originals if (self.originals or "").startswith(OBJECT_STORE) else None

    @property
    def originals_dir(self) -> Path:
        """The folder of `images` and `thumbnails`, unless they are in an object store."""
        return self.data_dir if self.originals is None else Path(self.originals.removeprefix("file://"))

    @property
    def data_dir_is_read_only(self) -> bool:
        """Whether nothing is written to the data folder. Next to a database, it is the server's own cache."""
        return self.read_only and self.store is None

    @property
    def library_folders(self) -> dict[str, Path]:
        """The folders of the libraries, by name."""
        return {
            name: Path(folder).absolute()
            for name, _, folder in (one.partition("=") for one in self.libraries)
        }

    @property
    def key_file_path(self) -> Path:
        """The file of API keys, which need not exist."""
        return self.data_dir / KEY_FILE if self.key_file is None else self.key_file

    @model_validator(mode="after")
    def _refuse_open_host_without_key(self) -> Self:
        # Once the file exists, a server never answers without a key, even if none is left in it.
        has_key = self.api_key is not None or os.path.exists(self.key_file_path)  # noqa: PTH110
        if self.host not in LOOPBACK and not has_key and not self.insecure:
            raise ValueError(
                f"host {self.host} can be reached from other machines and there is no API key: "
                "set DIPTYCH_API_KEY, make one with `diptych keys create`, or pass --insecure if this is "
                "intended"
            )
        return self

    @model_validator(mode="after")
    def _require_libraries_apart_from_data(self) -> Self:
        """Thumbnails would become pictures of the library, and their thumbnails too."""
        data_dir = self.data_dir.resolve()
        for name, folder in self.library_folders.items():
            root = folder.resolve()
            if root.is_relative_to(data_dir):
                raise ValueError(f"library {name!r} is in the data folder: name a folder elsewhere")
            if data_dir.is_relative_to(root) and not _is_hidden(data_dir.relative_to(root)):
                raise ValueError(
                    f"the data folder is in library {name!r}: move it, or name a folder that does not hold it"
                )
        return self

    @model_validator(mode="after")
    def _require_both_files_of_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both files: set DIPTYCH_TLS_CERT and DIPTYCH_TLS_KEY")
        return self

    @model_validator(mode="after")
    def _require_originals_of_read_only_server(self) -> Self:
        if self.read_only and self.store is not None and self.originals is None:
            raise ValueError(
                "a read-only server with DIPTYCH_STORE needs DIPTYCH_ORIGINALS: without it, the server whose "
                "data folder has the image files uses the database alone"
            )
        return self

    @model_validator(mode="after")
    def _require_store_of_originals(self) -> Self:
        if self.originals is not None and self.store is None:
            raise ValueError(
                "DIPTYCH_ORIGINALS needs DIPTYCH_STORE: without it, image files are in the data folder"
            )
        if self.originals is not None and self.libraries:
            raise ValueError(
                "DIPTYCH_LIBRARIES needs a server of its own: with DIPTYCH_ORIGINALS, each of several "
                "servers would scan them; leave one of both out"
            )
        return self

    @model_validator(mode="after")
    def _require_room_for_one_request(self) -> Self:
        if self.max_queue_items < self.max_items:
            raise ValueError(f"max_queue_items is {self.max_queue_items}, less than the items of one request")
        if self.max_inflight_body_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_inflight_body_bytes is {self.max_inflight_body_bytes}, less than one request body"
            )
        return self


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _with_installed_model(settings: Settings) -> Settings:
    if "model_repo" in settings.model_fields_set or settings.model_repo.is_dir():
        return settings
    found = installed_model(settings.model)
    if found is None:
        return settings
    has_own = "gallery" in settings.model_fields_set or settings.read_only  # which adds no pictures
    gallery = settings.gallery if has_own else found.gallery
    return settings.model_copy(update={"model_repo": found.model_repo, "gallery": gallery})


def read_settings(given: Mapping[str, object]) -> Settings:
    """Read the settings from the environment and `given`, which wins.

    Without a model repository, one that is installed as a package is taken, with its gallery. Raises
    ConfigError naming the setting.
    """
    try:
        return _with_installed_model(Settings(**given))  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(
            "; ".join(_message(finding) for finding in error.errors(include_url=False))
        ) from None


def _message(finding: ErrorDetails) -> str:
    message = finding["msg"].removeprefix("Value error, ")
    if not finding["loc"]:
        return message
    # The value is left out, because it may be the API key.
    return f"{PREFIX}{str(finding['loc'][0]).upper()}: {message}"
