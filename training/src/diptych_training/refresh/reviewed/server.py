"""The address of a label set on a server, and how far the model there agrees with people."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from diptych.errors import InvalidValue
from diptych_client import Client, ClientError, Forbidden, LabelSetReport, Unauthorized
from diptych_training.errors import DataError
from diptych_training.push import KEY_VARIABLE


@dataclass(frozen=True)
class Address:
    """A label set of a collection on the server at `url`."""

    url: str
    collection: str
    label_set: str

    def __str__(self) -> str:
        return f"label set {self.label_set} of {self.collection}"


def address_of(collection_url: str, label_set: str) -> Address:
    """The address that a URL such as http://127.0.0.1:8000/collections/pets names. Raises InvalidValue."""
    url, _, name = collection_url.rstrip("/").rpartition("/collections/")
    if not url.startswith(("http://", "https://")) or not name or "/" in name:
        raise InvalidValue(
            f"--collection {collection_url}: must be the URL of a collection, such as "
            "http://127.0.0.1:8000/collections/pets"
        )
    return Address(url, unquote(name), label_set)


@contextmanager
def connected(address: Address, api_key: str | None) -> Iterator[Client]:
    """A client of the server. Its errors become a DataError that names the collection."""
    try:
        with Client(address.url, api_key) as client:
            yield client
    except ClientError as error:
        refused = isinstance(error, Unauthorized | Forbidden)
        hint = f"; {KEY_VARIABLE} must be a key that may read the collection" if refused else ""
        raise DataError(
            f"--collection {address.url}/collections/{address.collection}: {error}{hint}"
        ) from error


def label_set_report(address: Address, api_key: str | None) -> LabelSetReport:
    """The label set as the server has it now, with the agreement of its model. Raises DataError."""
    with connected(address, api_key) as client:
        return client.label_set(address.collection, address.label_set)
