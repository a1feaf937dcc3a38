"""Prepared pixels equal the reference libraries', and so does every size and offset."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.transform import CenterCropOrPad, ResizeKeepRatio
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
from torchvision.transforms import functional as F
from transformers.image_transforms import center_crop as hugging_face_crop
from transformers.image_transforms import get_resize_output_image_size
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from diptych.bundle.image.geometry import place
from diptych.bundle.image.preprocess import ImageLimits, preprocess
from support.bundle_examples import image_spec, noise

LIMITS = ImageLimits()
edges = st.integers(1, 600)
sizes = st.integers(32, 224)
interpolations = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])


def prepared(image, **changes):
    return preprocess(image, image_spec(**changes), LIMITS)


@settings(deadline=None, max_examples=150)
@given(width=edges, height=edges, size=sizes, interpolation=interpolations)
@example(width=1, height=600, size=224, interpolation="bicubic")
@example(width=225, height=227, size=224, interpolation="bicubic")
@example(width=224, height=227, size=224, interpolation="bicubic")
def test_shortest_with_round_equals_torchvision(width, height, size, interpolation):
    image = noise(width, height)
    reference = Compose([Resize(size, InterpolationMode(interpolation)), CenterCrop(size)])(image)
    found = prepared(image, size=size, interpolation=interpolation)
    np.testing.assert_array_equal(found, np.asarray(reference))


@settings(deadline=None, max_examples=100)
@given(width=edges, height=edges, size=sizes)
@example(width=1, height=600, size=224)
@example(width=224, height=227, size=224)
@example(width=3, height=1, size=224)
def test_shortest_with_floor_equals_the_hugging_face_processor(width, height, size):
    image = noise(width, height)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        do_rescale=False,
        do_normalize=False,
    )
    # Without the named layout the processor takes an image 1 or 3 pixels high for one with channels first.
    reference = processor(np.asarray(image), input_data_format="channels_last")["pixel_values"][0]
    found = prepared(image, size=size, crop="floor")
    np.testing.assert_array_equal(found.transpose(2, 0, 1), np.asarray(reference))


@settings(deadline=None, max_examples=100)
@given(width=edges, height=edges, size=sizes, fill=st.sampled_from([(0, 0, 0), (255, 255, 255), (1, 128, 7)]))
@example(width=600, height=2, size=224, fill=(255, 255, 255))
def test_longest_equals_open_clips_letterbox(width, height, size, fill):
    if min(width, height) * size / max(width, height) <= 0.5:
        return  # the reference asks for an edge of 0 pixels and fails; ours keeps one pixel
    image = noise(width, height)
    letterbox = [
        ResizeKeepRatio(size, longest=1, interpolation=InterpolationMode.BICUBIC),
        CenterCropOrPad(size, fill=fill),
    ]
    found = prepared(image, size=size, resize_mode="longest", fill_color=fill)
    np.testing.assert_array_equal(found, np.asarray(Compose(letterbox)(image)))


@settings(deadline=None, max_examples=50)
@given(width=edges, height=edges, size=sizes)
def test_squash_equals_torchvision(width, height, size):
    image = noise(width, height)
    found = prepared(image, size=size, resize_mode="squash")
    np.testing.assert_array_equal(found, np.asarray(Resize((size, size), InterpolationMode.BICUBIC)(image)))


@settings(deadline=None, max_examples=50)
@given(width=edges, height=edges, size=st.integers(32, 128), margin=st.integers(0, 60))
def test_crop_out_of_a_larger_resize_equals_torchvision(width, height, size, margin):
    image = noise(width, height)
    for resize_mode, edge in (("shortest", size + margin), ("squash", (size + margin, size + margin))):
        reference = Compose([Resize(edge, InterpolationMode.BICUBIC), CenterCrop(size)])(image)
        found = prepared(image, size=size, resize=size + margin, resize_mode=resize_mode)
        np.testing.assert_array_equal(found, np.asarray(reference))


@settings(deadline=None, max_examples=50)
@given(width=edges, height=edges, size=st.integers(32, 128), margin=st.integers(0, 60))
def test_crop_out_of_a_larger_resize_equals_the_hugging_face_processor(width, height, size, margin):
    image, edge = noise(width, height), size + margin
    for resize_mode, target in (
        ("shortest", {"shortest_edge": edge}),
        ("squash", {"height": edge, "width": edge}),
    ):
        processor = CLIPImageProcessorPil(
            size=target,
            crop_size={"height": size, "width": size},
            do_rescale=False,
            do_normalize=False,
        )
        reference = processor(np.asarray(image), input_data_format="channels_last")["pixel_values"][0]
        found = prepared(image, size=size, resize=edge, resize_mode=resize_mode, crop="floor")
        np.testing.assert_array_equal(found.transpose(2, 0, 1), np.asarray(reference))


def test_strip_that_the_letterbox_reference_cannot_resize_keeps_one_pixel():
    placement = place(600, 1, image_spec(size=224, resize_mode="longest"))
    assert (placement.width, placement.height) == (224, 1)
    with pytest.raises(ValueError, match="must be > 0"):
        ResizeKeepRatio(224, longest=1)(noise(600, 1))


def every_size():
    return ((width, height) for width in range(1, 601) for height in range(1, 601))


def test_every_crop_offset_equals_the_references():
    """The offset depends on the resized length alone, so every length that can occur is every case."""
    size = 32
    rounding, flooring = image_spec(size=size), image_spec(size=size, crop="floor")
    for length in range(size, size * 600 + 1):
        row = torch.arange(length)
        cropped = F.center_crop(row.expand(size, length), [size, size])
        assert place(length, size, rounding).left == -int(cropped[0, 0])
        planes = np.broadcast_to(row.numpy(), (1, size, length))
        cropped = hugging_face_crop(planes, (size, size), input_data_format="channels_first")
        assert place(length, size, flooring).left == -int(cropped[0, 0, 0])


def test_every_resized_size_equals_the_references():
    spec = image_spec(size=224)
    for width, height in every_size():
        placement = place(width, height, spec)
        resized = (placement.height, placement.width)
        assert resized == tuple(F._compute_resized_output_size((height, width), [224]))
        planes = np.broadcast_to(np.uint8(0), (3, height, width))
        assert resized == get_resize_output_image_size(planes, 224, False, input_data_format="channels_first")


def test_every_letterbox_size_equals_open_clips():
    spec = image_spec(size=224, resize_mode="longest")

    class Sized:
        def __init__(self, size):
            self.size = size

    for width, height in every_size():
        reference = ResizeKeepRatio.get_params(Sized((width, height)), (224, 224), 1.0)
        placement = place(width, height, spec)
        assert [placement.height, placement.width] == [max(1, edge) for edge in reference]
