"""Every setting of the server, validated once; wiring and the command line hand on plain values."""

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

from diptych.bundle.image.preprocess import DecodeMode
from diptych.core.fetching.host_rules import OFF, parse_host_rules
from diptych.core.limits import Limits
from diptych.errors import ConfigError

PREFIX = "DIPTYCH_"
AUTO: Final = "auto"  # as a precision or device: chosen at each start
Device = Literal["auto", "cpu", "cuda"]
MIN_KEY_CHARS = 8
_LIMITS = Limits()
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def default_data_dir() -> Path:
    """Where a user's programs keep state: $XDG_STATE_HOME/diptych, else ~/.local/state/diptych."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "diptych"


def default_cache_dir() -> Path:
    """Where a user's programs keep what can be made again: $XDG_CACHE_HOME/diptych, else ~/.cache/diptych.

    A user without a home, as in a container, has the folder for temporary files.
    """
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "diptych"
    try:
        return Path.home() / ".cache" / "diptych"
    except RuntimeError:
        return Path(gettempdir()) / "diptych"


def is_service_address(value: str) -> bool:
    """Whether it is what Kubernetes sets `<SERVICE>_PORT` to, such as tcp://10.0.0.1:8000."""
    return re.match(r"(tcp|udp|sctp)://", value) is not None


class _Variables(EnvSettingsSource):
    """The environment. In a pod beside a Service called `diptych`, DIPTYCH_PORT is not the setting."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value, key, is_complex = super().get_field_value(field, field_name)
        is_other = field_name == "port" and isinstance(value, str) and is_service_address(value)
        return None if is_other else value, key, is_complex


class Settings(BaseSettings):
    """One immutable value per setting; each is also the environment variable DIPTYCH_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    # where it listens
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    api_key: SecretStr | None = Field(
        None, description=f"key that every request must bring, at least {MIN_KEY_CHARS} characters"
    )
    insecure: bool = Field(False, description="allow another host than loopback without an API key")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="further host names this server is called by, separated by commas"
    )

    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="addresses or networks of trusted proxies (X-Forwarded-For), separated by commas",
    )

    # what it serves
    model_repo: Path = Field(Path("model_repo"), description="folder of bundles, <name>/<version>/")
    model: str = Field("pictograms", description="name of the model to serve")
    version: int | None = Field(
        None, ge=1, description="version to serve; the newest that can be served here when unset"
    )
    precision: str = Field(AUTO, description="precision of requests; auto: the fastest that passes here")
    collection_precision: str = Field(
        AUTO, description="precision of collections; auto: fp32 on a CPU, fp16 on a GPU"
    )
    device: Device = Field(
        "auto", description="where the encoders run: cpu, cuda, or auto: a GPU where one can be had"
    )
    index_device: Device = Field(
        "auto", description="where collections are searched: cpu, cuda, or auto: a GPU where faiss has one"
    )
    cuda_graphs: Literal["auto", "off"] = Field(
        AUTO, description="batches of a GPU as CUDA graphs: auto: where they can be captured; off"
    )
    tensorrt: Literal["off", "auto"] = Field(
        "off", description="engines for a GPU: off, or auto: built while CUDA serves, and taken once proven"
    )
    decode: DecodeMode = Field(
        "exact", description="fast: large JPEGs at a fraction of their size, other vectors"
    )
    allow_ungated: bool = Field(False, description="serve bundles whose parity was never measured")

    # what it keeps
    data_dir: Path = Field(default_factory=default_data_dir, description="folder of collections")
    cache_dir: Path = Field(
        default_factory=default_cache_dir, description="folder of what can be made again, such as engines"
    )
    max_data_bytes: int | None = Field(
        None,
        ge=1,
        description="bytes of files, database and log in the data folder; no limit when unset",
    )
    default_collection: str = Field("default", description="collection of requests that name none")
    gallery: Path | None = Field(
        None, description="folder with pictures and an `items.jsonl`, loaded into collection `gallery`"
    )

    # what it fetches
    image_urls: str = Field(
        OFF, description="off, public, or the hosts that images may be fetched from, separated by commas"
    )
    image_url_timeout_s: float = Field(10.0, gt=0, description="seconds in which one image must be fetched")
    max_image_url_fetches: int = Field(
        32, ge=1, le=1024, description="images fetched at once, by all requests together"
    )

    # how it runs
    n_threads: int = Field(0, ge=0, description="threads that encode; 0 for one per core")
    n_lanes: int = Field(0, ge=0, description="batches encoded side by side; 0: measured")
    n_decode_threads: int = Field(0, ge=0, description="threads that decode images; 0 for one per core")
    max_batch_size: int = Field(0, ge=0, le=1024, description="items in one batch; 0: measured")
    max_queue_items: int = Field(1024, ge=1, description="items that may wait for one encoder")
    max_queue_bytes: int = Field(500_000_000, ge=1, description="bytes that may wait for one encoder")
    max_inflight_body_bytes: int = Field(
        _LIMITS.max_inflight_body_bytes, ge=1, description="bytes of all bodies that are held at once"
    )
    encode_timeout_s: float = Field(
        60.0, gt=0, description="seconds after which a batch that is being encoded is stopped"
    )
    label_cache_items: int = Field(
        50_000, ge=0, description="label embeddings kept in memory, and half as many again in whole lists"
    )
    max_connections: int = Field(_LIMITS.max_connections, ge=1, description="connections at once")
    header_timeout_s: float = Field(
        _LIMITS.header_timeout_s, gt=0, description="seconds in which a head must arrive"
    )
    body_timeout_s: float = Field(
        _LIMITS.body_timeout_s, gt=0, description="seconds in which a body must arrive"
    )
    long_body_timeout_s: float = Field(
        _LIMITS.long_body_timeout_s, gt=0, description="seconds in which the body of a job must arrive"
    )
    request_timeout_s: float = Field(
        _LIMITS.request_timeout_s,
        gt=0,
        description="seconds from the head of a request to its answer; then it is a 504",
    )
    write_timeout_s: float = Field(
        60.0, gt=0, description="seconds after which an answer that nobody takes is given up"
    )
    keep_alive_s: float = Field(30.0, gt=0, description="seconds between two requests of a connection")
    grace_s: int = Field(30, ge=0, description="seconds that running requests get when the server stops")
    log_format: Literal["auto", "text", "json"] = Field("auto", description="auto: json unless on a terminal")

    # how large one request may be
    max_image_bytes: int = Field(_LIMITS.max_image_bytes, ge=1, description="bytes of one image file")
    # The image decoder itself refuses more: Pillow's MAX_IMAGE_PIXELS.
    max_image_px: int = Field(_LIMITS.max_image_px, ge=1, le=89_478_485, description="pixels of one image")
    max_items: int = Field(_LIMITS.max_items, ge=1, description="items in one /embed or /classify")
    max_openai_inputs: int = Field(
        _LIMITS.max_openai_inputs, ge=1, description="inputs in one /v1/embeddings"
    )
    max_add_items: int = Field(
        _LIMITS.max_add_items, ge=1, description="images in one add; more become a job"
    )
    max_job_items: int = Field(_LIMITS.max_job_items, ge=1, description="images in one job")
    max_job_bytes: int = Field(_LIMITS.max_job_bytes, ge=1, description="bytes of the body of one job")
    max_add_vectors: int = Field(
        _LIMITS.max_add_vectors, ge=1, description="ready-made vectors in one request"
    )
    max_labels: int = Field(_LIMITS.max_labels, ge=1, description="labels in one /classify")
    max_text_chars: int = Field(_LIMITS.max_text_chars, ge=1, description="characters of one text")
    max_predictions: int = Field(
        _LIMITS.max_predictions,
        ge=1,
        description="images times labels (at most top_k) in the answer of one /classify",
    )
    max_body_bytes: int = Field(_LIMITS.max_body_bytes, ge=1, description="bytes of one body")
    max_k: int = Field(_LIMITS.max_k, ge=1, description="hits of one /search")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the command line gave, then the environment."""
        return init_settings, _Variables(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("allowed_hosts", "trusted_proxies"):
            value = values.get(name)
            if isinstance(value, str):
                values[name] = tuple(one.strip() for one in value.split(",") if one.strip())
        return values

    @field_validator("trusted_proxies")
    @classmethod
    def _require_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for one in proxies:
            try:
                ipaddress.ip_network(one)
            except ValueError as error:
                raise ValueError(f"must be addresses or networks: {error}") from None
        return proxies

    @field_validator("api_key")
    @classmethod
    def _require_sendable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is None:
            return None
        text = key.get_secret_value()
        if len(text) < MIN_KEY_CHARS:
            raise ValueError(f"needs at least {MIN_KEY_CHARS} characters, this key has {len(text)}")
        if not text.isascii() or not text.isprintable() or text != text.strip():
            raise ValueError("must be printable ASCII without a space at either end: it travels in a header")
        return key

    @field_validator("image_urls")
    @classmethod
    def _require_readable_hosts(cls, text: str) -> str:
        try:
            parse_host_rules(text)
        except ConfigError as error:
            raise ValueError(error.message) from None
        return text

    @model_validator(mode="after")
    def _refuse_open_doors(self) -> Self:
        if self.host not in LOOPBACK and self.api_key is None and not self.insecure:
            raise ValueError(
                f"host {self.host} can be reached from other machines and no API key is set: "
                "set DIPTYCH_API_KEY, or pass --insecure if that is meant"
            )
        return self

    @model_validator(mode="after")
    def _fit_requests_into_queues(self) -> Self:
        if self.max_queue_items < max(self.max_items, self.max_add_items):
            raise ValueError(f"max_queue_items is {self.max_queue_items}, too few for one request's items")
        if self.max_queue_bytes < self.max_body_bytes:
            raise ValueError(f"max_queue_bytes is {self.max_queue_bytes}, too few for one body")
        if self.max_job_bytes < self.max_body_bytes:
            raise ValueError(f"max_job_bytes is {self.max_job_bytes}, less than one body of other requests")
        if self.max_inflight_body_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_inflight_body_bytes is {self.max_inflight_body_bytes}, too few for one body"
            )
        return self


def read_settings(given: Mapping[str, object]) -> Settings:
    """The environment, with what the command line gave on top. Raises ConfigError naming the setting."""
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError("; ".join(_spell(finding) for finding in error.errors(include_url=False))) from None


def _spell(finding: ErrorDetails) -> str:
    message = finding["msg"].removeprefix("Value error, ")
    if not finding["loc"]:
        return message
    # The value is left out: it may be the key.
    return f"{PREFIX}{str(finding['loc'][0]).upper()}: {message}"
