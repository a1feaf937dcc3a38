"""The JavaScript client as plain modules in a page, in a real browser."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from support.browser import Watched
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

pytestmark = pytest.mark.browser

RUN = """async ({ code, given }) => {
  const { Client, DiptychError } = await import("/assets/diptych-client/index.js");
  const blob = (data) => new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))]);
  const known = { Client, DiptychError, blob, given };
  const run = new Function(...Object.keys(known), `return (async () => {${code}})()`);
  return await run(...Object.values(known));
}"""


@pytest.fixture(scope="module")
def server(tiny_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tiny_repo, TINY, tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture
def page(new_page: Callable[..., Watched], server: RunningServer) -> Page:
    """A page of the server that has nothing of its own."""
    watched = new_page()
    watched.page.goto(f"{server.url}/healthz")
    return watched.page


def run(page: Page, code: str, given: object = None) -> Any:
    """The result of code that has the client, and `blob`, which decodes base64."""
    return page.evaluate(RUN, {"code": code, "given": given})


def encoded(payload: bytes) -> str:
    return base64.b64encode(payload).decode("ascii")


def test_client_speaks_to_the_server_of_its_page(page: Page, server: RunningServer) -> None:
    code = """
      const client = new Client();
      const image = blob(given);
      const { data } = await client.classify([image], ["red", "blue"]);
      const { images } = await client.embed({ images: [image] });
      return [client.url, data[0].predictions[0].label, images[0].embedding instanceof Float32Array];
    """
    assert run(page, code, encoded(picture("red"))) == [f"{server.url}/", "red", True]


def test_upload_reports_its_bytes_and_adds_the_images(page: Page) -> None:
    code = """
      const client = new Client();
      const items = given.map((data, i) => ({ image: blob(data), id: `n${i}` }));
      const uploads = [];
      const outcomes = await client.add(items, { onUploadProgress: (one) => uploads.push(one) });
      const total = items.reduce((sum, { image }) => sum + image.size, 0);
      const { hits } = await client.search({ image: items[3].image }, { k: 1 });
      return {
        statuses: outcomes.map(({ status }) => status),
        last: uploads.at(-1),
        total,
        grows: uploads.every(({ sentBytes }, i) => i === 0 || sentBytes >= uploads[i - 1].sentBytes),
        best: hits[0].id,
        shown: (await client.thumbnail("default", "n3")).type.startsWith("image/"),
      };
    """
    images = [encoded(noise(seed, (400, 400))) for seed in range(6)]
    found = run(page, code, images)
    assert found["statuses"] == ["created"] * 6
    assert found["last"] == {"sentBytes": found["total"], "totalBytes": found["total"]}
    assert found["grows"]
    assert (found["best"], found["shown"]) == ("n3", True)


def test_refusals_and_cancelled_uploads_are_told_apart(page: Page) -> None:
    code = """
      const client = new Client();
      const items = [{ image: blob(given) }];
      const kinds = [];
      const kind = async (call) => {
        try {
          await call();
        } catch (error) {
          kinds.push(error instanceof DiptychError ? [error.kind, error.status] : String(error));
        }
      };
      const onUploadProgress = () => {};
      await kind(() => client.add(items, { collection: "absent", onUploadProgress }));
      const controller = new AbortController();
      const cancelling = () => controller.abort();
      await kind(() => client.add(items, { signal: controller.signal, onUploadProgress: cancelling }));
      await kind(() => new Client("http://127.0.0.1:9", { retries: 0 }).add(items, { onUploadProgress }));
      await kind(() => client.search("red", { collection: "absent" }));
      return kinds;
    """
    expected = [["api", 404], ["aborted", 0], ["unreachable", 0], ["api", 404]]
    assert run(page, code, encoded(picture("red"))) == expected
