"""The fixture that tests of the Python client share."""

import pytest

from diptych_client import Client
from support.fake_api import FakeApi


@pytest.fixture
def client(api: FakeApi) -> Client:
    """Return a client of `api`, the fake API of the test's file."""
    return Client(transport=api.transport())
