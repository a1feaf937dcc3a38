"""A parameter with one value stands once in a query string, a list as often as it has values."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel

from diptych.errors import InvalidValue
from diptych.http.query import refuse_repeated_parameters

app = FastAPI(dependencies=[Depends(refuse_repeated_parameters)])


class Parameters(BaseModel):
    names: list[str] = []
    limit: int | None = None


@app.get("/")
async def echo(parameters: Annotated[Parameters, Query()]) -> Parameters:
    return parameters


def test_list_has_all_its_values() -> None:
    answer = TestClient(app).get("/?names=a&names=b&limit=1")
    assert answer.json() == {"names": ["a", "b"], "limit": 1}


def test_second_value_is_refused() -> None:
    with pytest.raises(InvalidValue, match="limit: is given 2 times, and takes one value"):
        TestClient(app).get("/?names=a&limit=1&limit=2")
