"""`diptych-train benchmark` beside CLIP_benchmark: the same checkpoint, the same folders, the same figures.

CLIP_benchmark runs in an environment of its own, which pip makes the first time: that takes minutes.
"""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.environments import environment
from diptych_training.cli import main
from diptych_training.evaluate.benchmark.results import Result, result_file
from diptych_training.schema import find_record
from support.labelled_folders import Label, write_shards
from support.open_clip_checkpoints import make_vit
from support.pictures import noise

pytestmark = pytest.mark.long

N, CLASSES = 60, ["cat", "dog", "old car", "fire truck", "tree", "house", "boat"]
TEMPLATES = ["a photo of a {c}.", "{c}", "some {c} on paper"]
PROGRAM = """
import json, sys
import open_clip, torch
from clip_benchmark.datasets.builder import build_dataset
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval

checkpoint, root, *names = sys.argv[1:]
model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
model.eval()
options = {"tokenizer": open_clip.get_tokenizer(f"local-dir:{checkpoint}"), "device": "cpu", "amp": False}
found = {}
for name in names:
    task = "zeroshot_retrieval" if name == "captions" else "zeroshot_classification"
    data = build_dataset(f"wds/{name}", root=f"{root}/{name}", transform=transform, task=task)
    loader = torch.utils.data.DataLoader(data.batched(16), batch_size=None)
    if name == "captions":
        found[name] = zeroshot_retrieval.evaluate(model, loader, recall_k_list=[1, 5, 10], **options)
    else:
        found[name] = zeroshot_classification.evaluate(
            model, loader, classnames=data.classes, templates=data.templates, **options
        )
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`checkpoint`, and data sets of one label, of several labels and of captions."""
    home = tmp_path_factory.mktemp("home")
    make_vit(home / "checkpoint")
    rng = np.random.default_rng(0)
    pictures = [noise(number, (60, 44)) for number in range(N)]
    labels: dict[str, list[Label]] = {
        "one": [int(label) for label in rng.integers(0, len(CLASSES), N)],
        "several": [row.tolist() for row in (rng.random((N, len(CLASSES))) < 0.3).astype(int)],
        "captions": [f"a {CLASSES[n % 7]} number {n}\nmore of {n}" for n in range(N)],
    }
    for name, own in labels.items():
        classes = [] if name == "captions" else CLASSES
        write_shards(
            home / "sets" / name, {"test": list(zip(pictures, own, strict=True))}, classes, TEMPLATES, 16
        )
    return home


@pytest.fixture(scope="module")
def theirs(home: Path) -> dict[str, dict[str, float]]:
    try:
        python = environment("clip_benchmark") / "python"
    except subprocess.CalledProcessError as error:
        pytest.skip(f"CLIP_benchmark cannot be installed: {error}")
    command = [python, "-c", PROGRAM, home / "checkpoint", home / "sets", "one", "several", "captions"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, dict[str, float]] = json.loads(answer.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def ours(home: Path) -> dict[str, Result]:
    repo = ["--model-repo", str(home / "model_repo")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIPTYCH_CACHE", str(home / "cache"))
        checkpoint = ["import", str(home / "checkpoint"), "--name", "theirs", "--no-optimise", "--ungated"]
        assert main([*checkpoint, "--proof-images", "20", *repo]) == 0
        sets = [f"--on={home / 'sets' / name}" for name in ("one", "several", "captions")]
        assert main(["benchmark", "theirs", *sets, *repo, "--out", str(home / "out")]) == 0
    found = {}
    for name in ("one", "several", "captions"):
        result = find_record(result_file(home / "out" / "results", "theirs/1 (fp32)", name), Result)
        assert result is not None
        found[name] = result
    return found


def test_accuracies_of_one_label_agree(ours: dict[str, Result], theirs: dict[str, dict[str, float]]) -> None:
    found = ours["one"].zero_shot["ensemble"]

    assert 0 < found["top1"] < 1
    assert found["top1"] == pytest.approx(theirs["one"]["acc1"], abs=1e-5)
    assert found["top5"] == pytest.approx(theirs["one"]["acc5"], abs=1e-5)
    assert found["mean_per_class"] == pytest.approx(theirs["one"]["mean_per_class_recall"], abs=1e-5)


def test_precision_of_several_labels_agrees(
    ours: dict[str, Result], theirs: dict[str, dict[str, float]]
) -> None:
    found = ours["several"].zero_shot["ensemble"]["mean_average_precision"]

    assert found == pytest.approx(theirs["several"]["mean_average_precision"], abs=1e-4)


def test_recalls_of_captions_agree(ours: dict[str, Result], theirs: dict[str, dict[str, float]]) -> None:
    found = ours["captions"].retrieval

    assert found is not None
    for k in (1, 5, 10):
        assert found.text_to_image[k] == pytest.approx(
            theirs["captions"][f"image_retrieval_recall@{k}"], abs=1e-5
        )
        assert found.image_to_text[k] == pytest.approx(
            theirs["captions"][f"text_retrieval_recall@{k}"], abs=1e-5
        )
