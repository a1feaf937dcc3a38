import numpy as np
import pytest

from diptych.core.concurrency.admission import Admission
from diptych.core.encoding.embed import embed_items, shortened
from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.types import TextEmbedding
from diptych.errors import UndecodableImage
from unit.core.core_fakes import FakeEncoder, fake_embedder, unit_vector
from unit.core.fetching.test_image_urls import FakeFetcher, nothing, urls_of


async def test_items_of_every_kind_keep_their_order_and_texts_may_exceed_the_queue() -> None:
    admission = Admission(max_items=4, max_bytes=10**9)
    embedder = fake_embedder(FakeEncoder(), max_items=4, text_admission=admission)
    texts = [f"text {n}" for n in range(9)]
    rows = await embed_items(
        [b"A", *texts, ImageUrl("B")],
        "input",
        image_urls=urls_of(FakeFetcher()),
        embedder=embedder,
        reserve=nothing,
    )
    expected = [unit_vector(seed) for seed in ("A", *texts, "B")]
    np.testing.assert_allclose([row.embedding for row in rows], expected)


async def test_first_bad_item_is_named_by_its_place_among_all() -> None:
    with pytest.raises(UndecodableImage, match=r"input\[2\]: "):
        await embed_items(
            [b"A", "text", b"bad"],
            "input",
            image_urls=urls_of(FakeFetcher()),
            embedder=fake_embedder(FakeEncoder()),
            reserve=nothing,
        )


def test_shortened_embedding_is_the_first_numbers_of_unit_norm() -> None:
    row = TextEmbedding(np.array([0.0, 3.0, 4.0, 12.0], np.float32) / 13, truncated=True, n_tokens=3)
    (short,) = shortened([row], 3)
    np.testing.assert_allclose(short.embedding, [0.0, 0.6, 0.8], rtol=1e-6)
    assert short.embedding.dtype == np.float32
    assert (short.truncated, short.n_tokens) == (True, 3)
    (nothing_left,) = shortened([row], 1)
    assert nothing_left.embedding.tolist() == [0.0]
