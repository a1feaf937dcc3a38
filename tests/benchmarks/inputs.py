"""What is sent and served: photographs, captions, ViT-B/32 with random weights, imported by a checkout.

All seeded, so the same every time. Speed and memory are those of trained weights, what vectors mean is not.
"""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from benchmarks.report import say
from benchmarks.servers import REPOSITORY, in_cache, modules_of
from diptych_training.evaluate.proof_set.photos import photographs
from diptych_training.importing.common.weight_files import read_weights

GALLERY = REPOSITORY / "server" / "gallery"
VIT = "vit-b-32"
VIT_TOWERS = {
    "vision_config": {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "patch_size": 32,
    },
    "text_config": {},  # CLIP's own
    "projection_dim": 512,
}  # fmt: skip
IMPORTERS = ("export", "importing", "models")  # rooms of training that decide what an import makes
RELEASES = ("torch", "onnx", "onnxscript", "onnxruntime", "transformers")
QUALITY = 90
SIZE = (640, 480)
MIN_SHARE = (
    0.6  # of the largest part with this shape: cut smaller, photographs would turn soft and cheap to decode
)
NOISE = 0.05  # of the spread of weights: other vectors, nearly the same neighbours

COUNTS = ("a", "one", "two", "three", "several", "the")
ADJECTIVES = (
    "red", "small", "old", "bright", "wooden", "quiet", "broken", "striped", "snowy", "blue", "round",
)  # fmt: skip
THINGS = (
    "cat", "bicycle", "lighthouse", "umbrella", "coffee cup", "train", "mountain", "violin", "market stall",
    "bridge", "astronaut", "garden", "rocket", "plate of rice", "dog", "harbour", "camera", "coin",
)  # fmt: skip
PLACES = (
    "", "", "on a table", "beside the river", "in the rain", "under a cloudy sky", "at night",
    "near the window", "in front of a brick wall", "on the beach in the morning light",
)  # fmt: skip
FRAMES = ("{}", "{}", "a photo of {}", "a drawing of {}", "{}, close-up")


@cache
def photos(n_photos: int) -> list[bytes]:
    """Distinct JPEG photographs of 640 x 480, cut from those that two installed packages have."""
    opened = [Image.open(photograph.path).convert("RGB") for photograph in photographs()]
    return [_jpeg(opened[number % len(opened)], number) for number in range(n_photos)]


def _jpeg(image: Image.Image, number: int) -> bytes:
    rng, aspect = np.random.default_rng((20, number)), SIZE[0] / SIZE[1]
    width = rng.uniform(MIN_SHARE, 1) * min(image.width, image.height * aspect)
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - width / aspect)
    box = (left, top, left + width, top + width / aspect)
    encoded = io.BytesIO()
    image.resize(SIZE, Image.Resampling.BICUBIC, box=box).save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def gallery_items(folder: Path = GALLERY) -> list[tuple[Path, dict[str, str]]]:
    """The files of the sample gallery, each with its metadata: name, and kind (drawing or photograph)."""
    lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    return [(folder / item["file"], item["metadata"]) for item in map(json.loads, lines)]


def pictures() -> list[bytes]:
    """The PNG files of the sample gallery."""
    return [file.read_bytes() for file in sorted(GALLERY.glob("*.png"))]


def variants(start: int, stop: int) -> Iterator[bytes]:
    """JPEG pictures of the gallery, turned and on a ground of another colour: distinct by their number."""
    for number in range(start, stop):
        image, rng = _gallery()[number % len(_gallery())], np.random.default_rng((29, number))
        turned = image.rotate(float(rng.uniform(-30, 30)), Image.Resampling.BILINEAR)
        ground = Image.new("RGB", image.size, tuple(int(level) for level in rng.integers(160, 256, 3)))
        ground.paste(turned, mask=turned)
        encoded = io.BytesIO()
        ground.save(encoded, "JPEG", quality=QUALITY)
        yield encoded.getvalue()


@cache
def _gallery() -> list[Image.Image]:
    return [Image.open(io.BytesIO(picture)).convert("RGBA") for picture in pictures()]


def captions(n_texts: int) -> list[str]:
    """Distinct captions of 2 to 16 words: infinity cuts what is longer than 20 tokens, and would do less."""
    draw, found = random.Random(0), dict[str, None]()
    while len(found) < n_texts:
        words = f"{draw.choice(COUNTS)} {draw.choice(ADJECTIVES)} {draw.choice(THINGS)} {draw.choice(PLACES)}"
        found[draw.choice(FRAMES).format(words.strip())] = None
    return list(found)


def labels(n_labels: int, seed: int) -> list[str]:
    """Distinct short labels; two seeds share none, so that no label cache has them."""
    draw = random.Random(seed)
    return [f"{draw.choice(ADJECTIVES)} {draw.choice(THINGS)} {seed} {number}" for number in range(n_labels)]


def checkpoint() -> Path:
    """ViT-B/32 as transformers saves it, with OpenAI's shapes and a small tokenizer."""
    folder = in_cache("checkpoints", f"{VIT}-1")
    if not folder.exists():
        # torch is large: only a run that makes the checkpoint loads it.
        code = f"from benchmarks import inputs; inputs.save_checkpoint({str(folder)!r})"
        _run([sys.executable, "-c", code], REPOSITORY)
    return folder


def save_checkpoint(folder: str) -> None:
    """The folder is there whole or not at all."""
    import torch  # noqa: PLC0415
    from transformers import CLIPConfig, CLIPModel  # noqa: PLC0415
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # noqa: PLC0415

    from support.hugging_face_tokenizers import clip_tokenizer  # noqa: PLC0415

    part = Path(f"{folder}.part")
    shutil.rmtree(part, ignore_errors=True)
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(77)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**VIT_TOWERS["text_config"], **ids, "pad_token_id": tokenizer.pad_token_id}  # type: ignore[dict-item]
    CLIPModel(CLIPConfig(**{**VIT_TOWERS, "text_config": text})).save_pretrained(part)  # type: ignore[arg-type]
    CLIPImageProcessorPil().save_pretrained(part)
    tokenizer.save_pretrained(part)
    config = part / "preprocessor_config.json"
    named = json.loads(config.read_text(encoding="utf-8")) | {"image_processor_type": "CLIPImageProcessor"}
    config.write_text(json.dumps(named, indent=2), encoding="utf-8")  # the name that every release reads
    part.rename(folder)


def imported(checkout: Path) -> Path:
    """A model repository with ViT-B/32 in fp32 and int8, imported by the checkout's own `diptych-train`.

    It is kept for as long as the code that imports and its releases are the same.
    """
    source = checkpoint()
    repository = in_cache("model_repos", _importer(checkout))
    if not repository.exists():
        say(f"importing {VIT} by {checkout}: once for its sources, some minutes")
        part = repository.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        _import(checkout, source, VIT, ["fp32", "int8"], part)
        part.rename(repository)
    return repository


def bundle_of(repository: Path, model: str) -> Path:
    """The folder of a model's newest version."""
    versions = [int(folder.name) for folder in (repository / model).iterdir() if folder.name.isdigit()]
    return repository / model / str(max(versions))


def with_changed_version(model: str) -> Path:
    """A model repository with the newest committed version of a model, and one after it with other vectors.

    The second has noise on its weights, is exported anew and is ungated. It is kept as `imported` is.
    """
    committed = bundle_of(REPOSITORY / "model_repo", model)
    digest = hashlib.sha256((committed / "manifest.json").read_bytes()).hexdigest()[:12]
    repository = in_cache("model_repos", f"changed-{digest}-{_importer(REPOSITORY)}")
    if not repository.exists():
        say(f"making another version of {model}: once for its sources, a minute or two")
        part, source = repository.with_suffix(".part"), repository.with_suffix(".source")
        for folder in (part, source):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(committed, source)
        add_noise(source / "weights.safetensors")
        shutil.copytree(committed, part / model / committed.name)
        precisions = json.loads((committed / "manifest.json").read_text(encoding="utf-8"))["precisions"]
        _import(REPOSITORY, source, model, precisions, part, "--no-weights")
        shutil.rmtree(source)
        part.rename(repository)
    return repository


def add_noise(weights: Path) -> None:
    """Add noise of a twentieth of its spread to every matrix, kernel and table."""
    rng = np.random.default_rng(0)
    found = {name: tensor.numpy() for name, tensor in read_weights(weights).items()}
    for name, values in found.items():
        if values.ndim >= 2:
            noise = NOISE * values.std() * rng.standard_normal(values.shape)
            found[name] = (values + noise).astype(values.dtype)
    save_file(found, weights)


def image_graph(bundle: Path, precision: str) -> Path:
    """The file of the image encoder in one precision."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    return bundle / str(manifest["precisions"][precision]["image_file"])


def _import(
    checkout: Path, source: Path, name: str, precisions: Iterable[str], repository: Path, *flags: str
) -> None:
    """By the checkout's own `diptych-train`."""
    command = [sys.executable, "-m", "diptych_training", "import", str(source), "--name", name, *flags]
    command += ["--precisions", ",".join(precisions), "--model-repo", str(repository)]
    _run([*command, "--ungated", "--offline", "--proof-images", "16"], checkout)


def _importer(checkout: Path) -> str:
    """A short hash of the code and the releases that decide what an import makes."""
    rooms = [checkout / "training" / "src" / "diptych_training" / room for room in IMPORTERS]
    rooms.append(checkout / "server" / "src" / "diptych" / "bundle")
    found = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in RELEASES).encode())
    for file in sorted(file for room in rooms for file in room.rglob("*.py")):
        found.update(file.relative_to(checkout).as_posix().encode() + file.read_bytes())
    return found.hexdigest()[:12]


def _run(command: Sequence[str], checkout: Path) -> None:
    """By the code of a checkout. Raises CalledProcessError."""
    places = modules_of(checkout)["PYTHONPATH"] + os.pathsep + str(REPOSITORY / "tests")
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "PYTHONPATH": places})
