"""Imported models of open_clip and OpenAI against the library itself: ids, features, graphs of any size."""

from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F

from diptych.bundle.text.tokenizer import pad
from diptych_training.export.onnx.bundle_files import write_image_graph, write_text_graph
from diptych_training.importing.common.imported_model import Choices, ImportedModel
from diptych_training.importing.open_clip import load_open_clip
from parity.imported import (
    AWKWARD,
    ORDINARY,
    SAME,
    assert_images_follow,
    assert_texts_follow,
    differing_ids,
    least_cosine,
    normalised,
    photographs,
    prepared,
    text_tokenizer,
)
from support.hugging_face_tokenizers import bert_tokenizer
from support.open_clip_checkpoints import (
    SIGLIP_IMAGES,
    make_checkpoint,
    make_hf_text,
    make_resnet,
    make_timm_siglip,
    make_vit,
    vit_config,
)
from support.openai_checkpoints import make_openai_archive, make_openai_state_dict

LETTERBOX = {"mean": (0.3, 0.5, 0.8), "std": (0.2, 0.3, 0.4), "resize_mode": "longest", "fill_color": 255}


def make_clipa(folder: Path) -> Path:
    """No causal mask, pooled at the last position; BERT's tokenizer with its separator struck out."""
    text = {
        "vocab_size": 500,
        "hf_tokenizer_name": "tiny/bert",
        "tokenizer_kwargs": {"strip_sep_token": True},
    }
    text |= {"context_length": 16, "pool_type": "last", "no_causal_mask": True}
    vision = {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
    config = vit_config(vision=vision, text=text)
    bilinear = {**SIGLIP_IMAGES, "interpolation": "bilinear"}
    return make_checkpoint(folder, config, preprocess=bilinear, tokenizer=bert_tokenizer(16))


def make_clips(folder: Path) -> Path:
    """Start, text, end, padding, class token: pooled at the last position."""
    tokenizer = bert_tokenizer(16)
    tokenizer.add_special_tokens({"bos_token": "[CLS]", "eos_token": "[SEP]"})
    text = {"vocab_size": 500, "hf_tokenizer_name": "tiny/bert", "tokenizer_mode": "clips"}
    text |= {"context_length": 16, "pool_type": "last", "no_causal_mask": True}
    return make_checkpoint(folder, vit_config(text=text), tokenizer=tokenizer)


def make_coca(folder: Path) -> Path:
    """Attentional image pooling; a class token behind the text."""
    shape = {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
    vision = {
        "attentional_pool": True,
        "attn_pooler_heads": 2,
        "attn_pooler_queries": 8,
        "output_tokens": True,
    }
    text = {"context_length": 20, "embed_cls": True, "output_tokens": True}
    extra = {"multimodal_cfg": {**shape, "attn_pooler_heads": 2}, "custom_text": True}
    return make_checkpoint(folder, vit_config(embed_dim=64, vision=vision, text=text, **extra))


def make_mobile(folder: Path) -> Path:
    """A convolutional tower of timm beside a text tower that sees its padding, pooled at the highest id."""
    vision = {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 64}
    config = vit_config(custom_text=True, text={"no_causal_mask": True, "context_length": 16})
    return make_checkpoint(folder, config | {"vision_cfg": vision})


def make_eos(folder: Path) -> Path:
    """Causal text pooled at the first end-of-text, by a custom block with its own attention."""
    text = {"pool_type": "eos", "eos_id": 49407, "qk_norm": True, "proj_bias": True}
    return make_checkpoint(folder, vit_config(custom_text=True, text=text, vision={"qk_norm": True}))


def a_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "original.pt"


KINDS: dict[str, Callable[[Path], Path]] = {
    "vit": make_vit,
    "vit-quickgelu-letterbox": lambda folder: make_vit(folder, quick_gelu=True, preprocess=LETTERBOX),
    "resnet": make_resnet,
    "timm-siglip": make_timm_siglip,
    "roberta-mean": lambda folder: make_hf_text(folder, kind="roberta"),
    "xlm-roberta-last": lambda folder: make_hf_text(
        folder, kind="xlm-roberta", pooler="cls_last_hidden_state_pooler"
    ),
    "bert-cls": lambda folder: make_hf_text(folder, kind="bert", pooler="cls_pooler"),
    "mt5-mean": lambda folder: make_hf_text(folder, kind="mt5"),
    "clipa": make_clipa,
    "clips": make_clips,
    "coca": make_coca,
    "mobile": make_mobile,
    "eos": make_eos,
    "openai-vit": lambda folder: make_openai_archive(a_file(folder)),
    "openai-resnet": lambda folder: make_openai_archive(a_file(folder), "resnet"),
    "openai-state-dict": lambda folder: make_openai_state_dict(a_file(folder)),
}
PADDED_TO_THE_LONGEST = {
    *(
        "vit",
        "vit-quickgelu-letterbox",
        "resnet",
        "roberta-mean",
        "xlm-roberta-last",
        "bert-cls",
        "mt5-mean",
        "eos",
    ),
    *("openai-vit", "openai-resnet", "openai-state-dict"),
}

# Every export takes seconds: one runs always, the others with the long tests.
OFTEN = {"image": {"vit"}, "text": {"vit"}}
LONG = pytest.mark.long
IMAGE_GRAPHS, TEXT_GRAPHS = (
    [pytest.param(kind, marks=() if kind in often else LONG) for kind in KINDS] for often in OFTEN.values()
)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def imported(kind, tmp_path_factory) -> ImportedModel:
    return load_open_clip(KINDS[kind](tmp_path_factory.mktemp(kind) / "checkpoint"), Choices())


def test_only_texts_whose_padding_changes_nothing_are_padded_to_the_longest(kind, imported):
    assert (imported.text.pad_to == "longest") == (kind in PADDED_TO_THE_LONGEST)


def test_features_follow_the_library_from_photograph_and_string_on(imported, tmp_path):
    assert_images_follow(imported)
    assert_texts_follow(imported, tmp_path)


def test_ids_of_all_texts_equal_the_librarys(kind, imported, tmp_path):
    # Python's lower case knows the final sigma, the tokenizer's does not.
    known = ["ΟΔΟΣ"] if kind == "bert-cls" else []
    assert differing_ids(imported, [*ORDINARY, *AWKWARD], tmp_path) in ([], known)


@pytest.mark.parametrize("kind", IMAGE_GRAPHS, indirect=True)
def test_image_graph_takes_any_batch(imported, tmp_path):
    write_image_graph(imported.model, imported.image, tmp_path / "image.onnx")
    session = ort.InferenceSession(str(tmp_path / "image.onnx"), providers=["CPUExecutionProvider"])
    pixels = prepared(imported, photographs())
    with torch.no_grad():
        expected = F.normalize(imported.model.encode_image(normalised(imported, pixels)), dim=-1).numpy()
    for n in (1, 2, len(pixels)):
        (found,) = session.run(None, {"pixels": pixels[:n]})
        assert least_cosine(found, expected[:n]) >= SAME


@pytest.mark.parametrize("kind", TEXT_GRAPHS, indirect=True)
def test_text_graph_takes_any_batch_and_length(imported, tmp_path):
    write_text_graph(imported.model, imported.text, tmp_path / "text.onnx")
    session = ort.InferenceSession(str(tmp_path / "text.onnx"), providers=["CPUExecutionProvider"])
    tokenizer = text_tokenizer(imported, tmp_path)
    rows = [tokenizer.ids(text)[0] for text in ORDINARY]
    for batch in ([0], [4, 0], [5, 1, 2], list(range(len(rows)))):
        input_ids = pad([rows[index] for index in batch], imported.text)
        with torch.no_grad():
            expected = imported.model.encode_text(torch.from_numpy(input_ids).long()).numpy()
        (found,) = session.run(None, {"input_ids": input_ids})
        assert least_cosine(found, expected) >= SAME
