"""An object store for tests: moto's S3 in a thread, with faults."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from typing import Any, Literal

import pytest

KEY, SECRET = "AKIAEXAMPLEOFTESTS", "secret-of-the-tests"
HANG_S = 30.0
Fault = Literal["500", "403", "507", "hang", "truncated"]
_ANSWERS = {
    "500": ("500 Internal Server Error", "InternalError"),
    "403": ("403 Forbidden", "AccessDenied"),
    "507": ("507 Insufficient Storage", "XMinioStorageFull"),
}
ALL_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})
_numbers = count()


class Store:
    """A running store. `fault` is what happens to requests whose method is in `methods`."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.url = ""
        self.fault: Fault | None = None
        self.methods = ALL_METHODS
        self.requests: list[str] = []  # method and path of each
        self.released = threading.Event()  # ends what hangs

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of a client."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }

    def bucket(self) -> str:
        """Make a bucket of its own; return its name."""
        name = f"bucket-{next(_numbers)}"
        self._client.create_bucket(Bucket=name)
        return name

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """The names of the objects that begin with `prefix`."""
        found = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for one in found.get("Contents", [])]

    def content(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        return bytes(self._client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def write(self, bucket: str, key: str, content: bytes) -> None:
        """Write an object, as another program would."""
        self._client.put_object(Bucket=bucket, Key=key, Body=content)

    def remove(self, bucket: str, *keys: str) -> None:
        """Remove objects."""
        for key in keys:
            self._client.delete_object(Bucket=bucket, Key=key)

    def copied(self, bucket: str) -> str:
        """Copy all objects into a bucket of its own; return its name."""
        copy = self.bucket()
        for key in self.keys(bucket):
            self._client.copy_object(Bucket=copy, Key=key, CopySource={"Bucket": bucket, "Key": key})
        return copy

    def age(self, bucket: str, *keys: str, at: datetime = datetime(2001, 1, 1, tzinfo=UTC)) -> None:
        """Let objects be of an earlier time."""
        from moto.s3.models import s3_backends  # noqa: PLC0415 - takes seconds

        (backend,) = (one["aws"] for one in s3_backends.values())
        for key in keys:
            backend.buckets[bucket].keys[key].last_modified = at.replace(tzinfo=None)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        method = environ["REQUEST_METHOD"]
        self.requests.append(f"{method} {environ['PATH_INFO']}")
        if self.fault is None or method not in self.methods:
            return self._app(environ, start_response)  # type: ignore[no-any-return]
        if self.fault == "hang":
            self.released.wait(HANG_S)
        if self.fault == "truncated":
            body = b"".join(self._app(environ, start_response))
            return [body[: len(body) // 2]]
        status, code = _ANSWERS.get(self.fault, _ANSWERS["500"])
        start_response(status, [("Content-Type", "application/xml"), ("Connection", "close")])
        return [f"<Error><Code>{code}</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>".encode()]

    @cached_property
    def _client(self) -> Any:
        import boto3  # noqa: PLC0415 - takes seconds
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            "s3",
            endpoint_url=f"{self.url}/",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(proxies={}, s3={"addressing_style": "path"}),
        )


@contextmanager
def store() -> Iterator[Store]:
    """Run a store; skip the test where moto is not installed."""
    pytest.importorskip("obstore", reason="needs obstore: the extra s3 of the server")
    server = pytest.importorskip("moto.server", reason="needs moto, an object store for tests")
    from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: PLC0415

    class Silent(WSGIRequestHandler):
        def log(self, *_: object) -> None:
            pass

    one = Store(server.DomainDispatcherApplication(server.create_backend_app))
    http = make_server("127.0.0.1", 0, one, threaded=True, request_handler=Silent)
    one.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.released.set()
        http.shutdown()
        thread.join()
        http.server_close()
