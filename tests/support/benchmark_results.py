"""Results of a benchmark with chosen scores, measured on nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from diptych_training.evaluate.benchmark.results import Confused, FewShot, Probe, Recalls, Result

RECALLS = {1: 0.25, 5: 0.5, 10: 0.75}


def some_result(
    data_set: str = "icons-a",
    *,
    model: str = "tiny/1 (fp32)",
    ensemble: float = 0.5,
    probe: float | None = None,
    few_shot: Mapping[int, Sequence[float]] | None = None,
    confusions: Sequence[tuple[str, str]] = (),
    **changes: Any,
) -> Result:
    """`few_shot`: examples a class -> the score of each seed."""
    scores = {"name": 0.4, "one_template": 0.4, "ensemble": ensemble}
    fields: dict[str, Any] = {
        "group": "icons",
        "task": "classification",
        "metric": "top1",
        "n_images": 30,
        "n_texts": 10,
        "templates": ("{}", "an icon of {}"),
        "zero_shot": {prompts: {"top1": score, "mean_per_class": score} for prompts, score in scores.items()},
        "retrieval": Recalls(text_to_image=RECALLS, image_to_text=RECALLS),
    }
    few = tuple(
        FewShot(shots=k, seed=seed, score=score, l2=1.0)
        for k, seeds in (few_shot or {}).items()
        for seed, score in enumerate(seeds)
    )
    return Result(
        model=model,
        identity="0" * 64,
        runtime="onnxruntime CPUExecutionProvider",
        data_set=data_set,
        content="1" * 64,
        settings="2" * 16,
        probe=None if probe is None else Probe(metrics={"top1": probe}, l2=1.0, n_train=9, n_validation=3),
        few_shot=few,
        confusions=tuple(
            Confused(picture=number, right=right, given=given, probability=0.875)
            for number, (right, given) in enumerate(confusions)
        ),
        **fields | changes,
    )
