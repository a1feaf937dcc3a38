"""Checkpoints of every named kind, from the folder their library saved to the vectors a server answers.

Each is imported by the command, with its whole proof, and served by a process. What `/embed` answers is held
against the library itself, run as its documentation says and not through the importer. Each takes half a
minute; test_import_command.py imports a checkpoint in less.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from diptych.bundle.encoder import Embeddings
from diptych.bundle.image.preprocess import ImageLimits, open_rgb
from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.cli import main
from diptych_training.evaluate.proof_set.photos import awkward_texts, photographs
from diptych_training.importing.text_differences import printable
from support.import_kinds import KINDS, Kind
from support.odd_pictures import odd_pictures
from support.original_library import OriginalLibrary
from support.server import serve

SAME = 0.99999  # cosine: what a manifest promises of float32
OCTETS = "application/octet-stream"
SIZES = (1, 2, 5, 11, 30)  # items of one request, in turn

Item = dict[str, str]


@dataclass(frozen=True)
class Served:
    """One imported kind behind a server."""

    kind: Kind
    manifest: Manifest
    tokenizer: TextTokenizer
    library: OriginalLibrary
    client: httpx.Client

    def embed(self, items: Sequence[Item]) -> Embeddings:
        """One request with all of these items."""
        return rows_of(self.client.post("/embed", json={"input": items}, headers={"Accept": OCTETS}))

    def is_truncated(self, text: str) -> bool:
        answer = self.client.post("/embed", json={"input": [{"text": text}]}).raise_for_status().json()
        return bool(answer["data"][0]["truncated"])


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds") / "model_repo"


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.long) for name in KINDS],
)
def served(
    request: pytest.FixtureRequest, model_repo: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    name: str = request.param
    kind = KINDS[name]
    checkpoint = kind.make(tmp_path_factory.mktemp(name) / "checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        command = ["import", str(checkpoint), "--name", name, "--model-repo", str(model_repo)]
        assert main(command) == 0
        library = kind.run_by(checkpoint)
    repository = ModelRepository(model_repo)
    manifest, folder = repository.verify(name, 1), repository.folder(name, 1)
    with (
        serve(model_repo, name, tmp_path_factory.mktemp("data")) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        tokenizer = TextTokenizer(folder / "tokenizer.json", manifest.text)
        yield Served(kind, manifest, tokenizer, library, client)


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    return odd_pictures(photographs()[0].path)


def rows_of(answer: httpx.Response) -> Embeddings:
    """The raw rows of an answer."""
    answer.raise_for_status()
    n_rows, embed_dim = map(int, answer.headers["X-Diptych-Shape"].split(","))
    rows: Embeddings = np.frombuffer(answer.content, dtype="<f4").reshape(n_rows, embed_dim)
    return rows


def cosines(found: Embeddings, expected: Embeddings) -> np.ndarray:
    assert found.shape == expected.shape
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    return np.asarray((found.astype(np.float64) * expected).sum(axis=1))


def in_requests(embed: Callable[[Sequence[Item]], Embeddings], items: Sequence[Item]) -> Embeddings:
    """All items, in requests of mixed sizes."""
    rows, start, turn = [], 0, 0
    while start < len(items):
        size = SIZES[turn % len(SIZES)]
        rows.append(embed(items[start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate(rows)


def texts_of_every_length(served: Served) -> dict[str, str]:
    """One word, and up to more than the context holds, counted in the bundle's own ids."""
    context_length = served.manifest.text.context_length
    room = context_length - len(served.tokenizer.ids("")[0])
    n_words = {"one word": 1, "one less": room - 1, "full": room, "over": room + 9}
    texts = {name: " ".join("a" * n) for name, n in n_words.items()}
    assert len(served.tokenizer.ids(texts["one less"])[0]) == context_length - 1  # each word is one id
    return texts


def test_manifest_says_how_the_kind_prepares_its_inputs(served: Served) -> None:
    manifest, kind = served.manifest, served.kind
    assert (manifest.family, manifest.ungated) == (kind.family, False)
    assert (manifest.image.resize_mode, manifest.image.crop) == (kind.resize_mode, kind.crop)
    assert manifest.text.pad_to == kind.pad_to


def test_images_of_every_mode_and_size_equal_the_librarys(served: Served, pictures: dict[str, bytes]) -> None:
    spec = served.manifest.image
    expected = served.library.encode_images([open_rgb(p, spec, ImageLimits()) for p in pictures.values()])
    assert cosines(np.roll(expected, 1, axis=0), expected).min() < 0.999  # else this would see nothing

    raw = [
        rows_of(
            served.client.post("/embed", content=p, headers={"Accept": OCTETS, "Content-Type": "image/png"})
        )
        for p in pictures.values()
    ]
    alone = cosines(np.concatenate(raw), expected)
    together = cosines(in_requests(served.embed, [image_item(p) for p in pictures.values()]), expected)

    print(f"images of every mode: cosine_min {min(alone.min(), together.min()):.7f}")  # `pytest -rP` shows it
    for name, one, other in zip(pictures, alone, together, strict=True):
        assert min(one, other) >= SAME, f"{name}: alone {one:.7f}, in a request with others {other:.7f}"


def test_texts_of_every_length_equal_the_librarys(served: Served) -> None:
    texts = texts_of_every_length(served)
    expected = served.library.encode_texts(list(texts.values()))
    items = [{"text": text} for text in texts.values()]

    alone = cosines(np.concatenate([served.embed([item]) for item in items]), expected)
    together = cosines(served.embed(items), expected)

    print(f"texts of every length: cosine_min {min(alone.min(), together.min()):.7f}")
    assert min(alone.min(), together.min()) >= SAME, (texts, alone, together)
    assert [served.is_truncated(text) for text in texts.values()] == [False, False, False, True]


def test_awkward_texts_equal_the_librarys_or_stand_among_the_differences(served: Served) -> None:
    awkward = awkward_texts()
    expected = served.library.encode_texts([one.text for one in awkward])
    items = [{"text": one.text} for one in awkward]

    alone = cosines(np.concatenate([served.embed([item]) for item in items]), expected)
    together = cosines(in_requests(served.embed, items), expected)

    stated = served.manifest.extra["text_differences"]
    listed = {(row["kind"], row["text"]) for row in stated["differing"]}
    is_listed = np.array([(one.kind, printable(one.text)) in listed for one in awkward])
    worst = np.minimum(alone, together)
    print(
        f"awkward texts: cosine_min {worst[~is_listed].min():.7f}, {is_listed.sum()} of {len(awkward)} listed"
    )
    assert stated["n_equal"] == int((~is_listed).sum())
    for one, cosine in zip(np.array(awkward, dtype=object)[~is_listed], worst[~is_listed], strict=True):
        assert cosine >= SAME, f"{one.kind}: {ascii(one.text)[:60]} has {cosine:.7f} and is not listed"


def test_images_and_texts_of_one_request_keep_their_places(
    served: Served, pictures: dict[str, bytes]
) -> None:
    images, texts = list(pictures.values())[:9], [one.text for one in awkward_texts()[:9]]
    mixed = [
        item for pair in zip(images, texts, strict=True) for item in (image_item(pair[0]), {"text": pair[1]})
    ]
    together = served.embed(mixed)
    alone = np.concatenate([served.embed([item]) for item in mixed])
    assert cosines(together, alone).min() >= SAME


def image_item(payload: bytes) -> Item:
    return {"image": f"data:image/png;base64,{base64.b64encode(payload).decode()}"}
