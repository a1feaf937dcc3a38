"""The ways to share the cores out that the server chooses from; knows no measurement."""

from diptych.adapters.plan_file import n_cpus

__all__ = ["decode_options", "lane_options", "n_cpus"]

FEW_THREADS = 4  # from here on the server also tries half as many lanes as threads


def lane_options(n_threads: int) -> list[int]:
    """Numbers of batches side by side: one with all threads, one for each thread, half as many."""
    halves = {n_threads // 2} if n_threads >= FEW_THREADS else set[int]()
    return sorted({1, n_threads} | halves)


def decode_options(n_threads: int) -> list[int]:
    """Numbers of threads that decode beside an encoder."""
    return sorted({n_threads, max(1, n_threads // 2)})
