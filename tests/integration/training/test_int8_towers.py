"""Whole towers, exported by torch and made int8: close to float32, and the same in any company."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.export.int8.observe import open_file, run
from diptych_training.export.int8.search import Int8Report
from diptych_training.export.int8.write import write_int8
from diptych_training.export.onnx.bundle_files import write_image_graph, write_text_graph
from diptych_training.models import ModelConfig, TextConfig, ViTConfig, build_model
from support.tiny_run import TINY_LITE, TINY_RESNET, tiny_image_spec

LENGTH, VOCABULARY = 12, 2000


@dataclass(frozen=True)
class Tower:
    """A float32 file, inputs to calibrate on, and others to judge by."""

    file: Path
    calibration: list[np.ndarray]
    others: np.ndarray

    def check(self, candidate: Path) -> float:
        """Mean cosine to float32 on the other inputs."""
        found, expected = (run(open_file(file), self.others) for file in (candidate, self.file))
        return float((found * expected).sum(axis=1).mean())


def no_lines(_: str) -> None:
    pass


@torch.no_grad()
def plant_outliers(model: torch.nn.Module) -> None:
    """What trained transformers have: channels behind each normalisation that are tens of times larger."""
    for block in model.transformer.resblocks:
        for norm, weight in ((block.ln_1, block.attn.in_proj_weight), (block.ln_2, block.mlp.c_fc.weight)):
            norm.weight[:3] *= 40
            weight[:, :3] /= 20


@torch.no_grad()
def plant_cancelling_units(model: torch.nn.Module) -> None:
    """Hidden units of the last block stand at 2,000 and speak only through the difference of two of them."""
    mlp = model.transformer.resblocks[-1].mlp
    mlp.c_fc.bias[:256] = 2000
    mlp.c_proj.weight *= 10  # it is heard
    mlp.c_proj.weight[:, 1:256:2] = -mlp.c_proj.weight[:, 0:256:2]


def build(image: object, seed: int = 0) -> torch.nn.Module:
    text = TextConfig(vocab_size=VOCABULARY, context_length=LENGTH, width=128, layers=3, heads=4)
    config = ModelConfig(embed_dim=64, image_size=tiny_image_spec().size, image=image, text=text)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = build_model(config).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
    return model


def image_tower(folder: Path, image: object, spec: ImageSpec) -> Tower:
    write_image_graph(build(image), spec, folder / "image.onnx")
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (96, 8, 8, 3), dtype=np.uint8)
    pixels = np.kron(coarse, np.ones((1, spec.size // 8, spec.size // 8, 1), np.uint8))
    return Tower(folder / "image.onnx", [pixels[:32], pixels[32:64]], pixels[64:])


def text_tower(folder: Path, change: Callable[[torch.nn.Module], None]) -> Tower:
    model = build(TINY_RESNET)
    change(model)
    spec = TextSpec(
        context_length=LENGTH, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]}
    )
    write_text_graph(model, spec, folder / "text.onnx")
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCABULARY - 1, (96, 9)).astype(np.int32)
    ids[:, -1] = VOCABULARY - 1
    return Tower(folder / "text.onnx", [ids[:32], ids[32:64, :7]], ids[64:])


VIT = ViTConfig(patch_size=8, width=128, layers=3, heads=4)
IMAGE_TOWERS = {
    "resnet": TINY_RESNET.model_copy(update={"width": 32}),
    "vit": VIT,
    "stem": VIT.model_copy(update={"stem": (16, 32, 64)}),
    "lite": TINY_LITE,
}
TEXT_TOWERS = {"text": plant_outliers, "cancelling": plant_cancelling_units}


@pytest.fixture(scope="module")
def tower_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tower]:
    """Exports each tower once, when it is asked for: that takes seconds."""

    @cache
    def make(name: str) -> Tower:
        folder = tmp_path_factory.mktemp(name)
        if name in IMAGE_TOWERS:
            return image_tower(folder, IMAGE_TOWERS[name], tiny_image_spec())
        return text_tower(folder, TEXT_TOWERS[name])

    return make


@dataclass(frozen=True)
class Made:
    """The int8 file of a tower, what was reported and said of it, and what else lies in its folder."""

    file: Path
    report: Int8Report
    lines: list[str]


@pytest.fixture(scope="module")
def int8_of(
    tower_of: Callable[[str], Tower], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Made]:
    """Makes each tower int8 once."""

    @cache
    def make(name: str) -> Made:
        file, lines = tmp_path_factory.mktemp(f"{name}-int8") / "out.onnx", list[str]()
        tower = tower_of(name)
        report = write_int8(tower.file, file, tower.calibration, check=tower.check, report=lines.append)
        return Made(file, report, lines)

    return make


def lowest_cosine_in_company(file: Path, items: np.ndarray) -> float:
    """One item alone, in a full batch, and beside others in another order."""
    session = open_file(file)
    together = run(session, items)
    alone = np.concatenate([run(session, items[at : at + 1]) for at in range(len(items))])
    order = np.random.default_rng(1).permutation(len(items))
    odd = np.concatenate([run(session, items[order[at : at + 5]]) for at in range(0, len(items), 5)])
    beside = odd[np.argsort(order)]
    return min(float((a * b).sum(axis=1).min()) for a, b in ((alone, together), (alone, beside)))


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("resnet", "stem", "lite")]


@pytest.mark.parametrize("name", ["vit", "text", *LONG])
def test_int8_follows_float32_and_is_the_same_in_any_company(
    name: str, tower_of: Callable[[str], Tower], int8_of: Callable[[str], Made]
) -> None:
    tower, made = tower_of(name), int8_of(name)
    assert tower.check(made.file) == pytest.approx(made.report.cosine, abs=1e-6)
    assert made.report.cosine >= 0.995
    assert made.report.kept_float == ()
    assert lowest_cosine_in_company(made.file, tower.others) >= 0.99999
    assert list(made.file.parent.iterdir()) == [made.file]
    assert made.file.stat().st_size < 0.45 * tower.file.stat().st_size
    assert made.lines


def test_the_signature_stays_and_padding_changes_nothing(
    tower_of: Callable[[str], Tower], int8_of: Callable[[str], Made]
) -> None:
    tower = tower_of("text")
    before, after = (open_file(file) for file in (tower.file, int8_of("text").file))
    for side in ("get_inputs", "get_outputs"):
        ports = [[(port.name, port.type, port.shape) for port in getattr(s, side)()] for s in (before, after)]
        assert ports[0] == ports[1]
    padded = np.pad(tower.others, ((0, 0), (0, LENGTH - tower.others.shape[1])))
    assert (run(after, tower.others) * run(after, padded)).sum(axis=1).min() >= 0.99999
    lengths = [run(after, tower.others[:3, :length]).shape for length in (2, 9)]
    assert lengths == [(3, 64), (3, 64)]


@pytest.mark.long
def test_a_layer_that_8_bits_cannot_hold_stays_float(
    tower_of: Callable[[str], Tower], tmp_path: Path
) -> None:
    tower = tower_of("cancelling")
    report = write_int8(
        tower.file, tmp_path / "out.onnx", tower.calibration, check=tower.check, report=no_lines
    )
    assert len(report.tries) > 1
    assert report.cosine >= 0.995
    assert 1 <= len(report.kept_float) <= 2
    assert report.n_quantised >= 10
    assert lowest_cosine_in_company(tmp_path / "out.onnx", tower.others) >= 0.99999


def test_vit_patches_and_products_run_on_integer_kernels(int8_of: Callable[[str], Made]) -> None:
    types = [node.op_type for node in onnx.load(int8_of("vit").file).graph.node]
    assert "Conv" not in types
    assert types.count("MatMul") == 2 * 3  # what is left: attention's own products, of two activations
