import numpy as np

from diptych_training.evaluate.calibrate.fit import N_HITS, SHARES, Searches, simulate

N, D = 400, 16


def unit_rows(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def one_picture_a_label() -> Searches:
    """Queries that are nearly equal to their only picture."""
    pictures = unit_rows(N, 0)
    return simulate(pictures @ pictures.T * 0.99, np.eye(N, dtype=bool))


def test_every_query_searches_with_and_without_what_it_means() -> None:
    searches = one_picture_a_label()
    found = searches.relevant.any(axis=1)
    assert found.sum() == len(searches) / 2
    assert (searches.scores[found, 0] > searches.scores[~found, 0].mean()).all()


def test_hits_come_best_first() -> None:
    searches = one_picture_a_label()
    assert searches.scores.shape[1] == N_HITS
    assert (np.diff(searches.scores, axis=1) <= 0).all()


def test_parts_of_several_sizes_are_searched() -> None:
    searches = one_picture_a_label()
    assert sorted(set(searches.n_images)) == sorted(
        int(share * N / 2) for share in SHARES if share * N / 2 >= 40
    )


def test_a_picture_does_not_find_itself() -> None:
    pictures = unit_rows(N, 0)
    cosines = pictures @ pictures.T
    np.fill_diagonal(cosines, np.nan)
    pairs = np.arange(N)[:, None] // 2 == np.arange(N)[None] // 2
    np.fill_diagonal(pairs, False)
    searches = simulate(cosines, pairs)
    assert np.isfinite(searches.scores).all()
    assert searches.relevant.sum(axis=1).max() == 1


def test_queries_without_anything_relevant_search_nothing() -> None:
    pictures = unit_rows(N, 0)
    assert len(simulate(pictures @ pictures.T, np.zeros((N, N), dtype=bool))) == 0


def test_few_pictures_are_not_searched() -> None:
    pictures = unit_rows(30, 0)
    assert len(simulate(pictures @ pictures.T, np.eye(30, dtype=bool))) == 0
