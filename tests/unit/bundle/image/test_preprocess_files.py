"""Each kind of image file is decoded correctly or rejected with a reason."""

import io
import random
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from diptych.bundle.image import colour
from diptych.bundle.image.preprocess import (
    ImageInfo,
    ImageLimits,
    load_pixels,
    open_rgb,
    preprocess,
    probe,
    thumbnail,
)
from diptych.errors import ConfigError, InputError, InvalidValue, TooLarge, UndecodableImage, UnsupportedImage
from support.bundle_examples import image_spec, noise
from support.pictures import encoded

LIMITS = ImageLimits()
SPEC = image_spec()
DROP = image_spec(alpha="drop")
LOSSLESS = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "GIF": {},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    "JPEG": {"quality": 100, "subsampling": 0},
}
MEDIA_TYPES = {name: f"image/{name.lower()}" for name in LOSSLESS}


def rgb(payload, spec=SPEC):
    return np.asarray(open_rgb(payload, spec, LIMITS))


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, bits, colour_type, rows, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = (
        png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


def png16(samples, colour_type, extra=b""):
    """Encode (H, W) or (H, W, C) uint16 as a 16-bit PNG."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(samples.shape[1], samples.shape[0], 16, colour_type, rows, extra)


def header_only_png(width, height):
    """Return a PNG that declares a size and has no pixels."""
    return png(width, height, 8, 2, b"")


# Formats


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_format_of_the_allow_list_is_read(name):
    image = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
    payload = encoded(image, name, **LOSSLESS[name])
    assert probe(payload, LIMITS) == ImageInfo(name, MEDIA_TYPES[name], 60, 40)
    np.testing.assert_allclose(rgb(payload).astype(int), np.asarray(image), atol=3)


UNWRITTEN = {"PNG": ["CMYK"], "BMP": ["CMYK"], "GIF": ["CMYK"], "JPEG": ["P", "RGBA"]}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (name, mode)
        for name in LOSSLESS
        for mode in ("RGB", "L", "P", "RGBA", "CMYK")
        if mode not in UNWRITTEN.get(name, [])
    ],
)
def test_pixels_are_those_of_a_new_rgb_image_without_metadata(name, mode):
    payload = encoded(noise(70, 50).convert(mode), name, **LOSSLESS[name])
    np.testing.assert_array_equal(
        load_pixels(payload, SPEC, LIMITS), preprocess(open_rgb(payload, SPEC, LIMITS), SPEC, LIMITS)
    )


@pytest.mark.parametrize("name", [name for name in LOSSLESS if name != "GIF"])
def test_picture_that_is_rgb_already_is_not_copied(name, monkeypatch):
    payload = encoded(noise(70, 50), name, **LOSSLESS[name])
    expected = load_pixels(payload, SPEC, LIMITS)
    for method in ("copy", "convert"):
        monkeypatch.setattr(Image.Image, method, None)
    np.testing.assert_array_equal(load_pixels(payload, SPEC, LIMITS), expected)


@pytest.mark.parametrize("name", ["PPM", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "EPS", "PDF"])
def test_formats_outside_the_allow_list_are_refused(name):
    with pytest.raises(UnsupportedImage, match="not an image in one of: JPEG, PNG"):
        load_pixels(encoded(noise(32, 32), name), SPEC, LIMITS)


@pytest.mark.parametrize(
    "payload",
    [
        b"hello, I am a text",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0" * 100,
        b"%PDF-1.7",
        b"\xff",
        b"RIFF\0\0\0\0WAVEfmt ",
    ],
)
def test_what_is_no_image_is_unsupported(payload):
    with pytest.raises(UnsupportedImage, match="not an image"):
        probe(payload, LIMITS)


def test_empty_file_says_that_it_is_empty():
    with pytest.raises(UnsupportedImage, match="empty"):
        load_pixels(b"", SPEC, LIMITS)


def test_missing_decoder_is_named(monkeypatch):
    payload = encoded(noise(8, 8), "AVIF")
    monkeypatch.setattr("diptych.bundle.image.decode.features.check", lambda feature: False)
    with pytest.raises(UnsupportedImage, match="no decoder for AVIF"):
        probe(payload, LIMITS)


# Colour modes


def test_palette_becomes_its_colours():
    image = noise(20, 20).quantize(16)
    np.testing.assert_array_equal(rgb(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_and_bilevel_become_three_equal_channels(mode):
    image = noise(20, 20, channels=1).convert(mode)
    expected = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(rgb(encoded(image, "PNG")), np.stack([expected] * 3, axis=-1))


def test_sixteen_bit_gray_is_scaled_not_clipped():
    samples = np.array([[0, 255, 256, 32768], [65535, 65280, 65279, 4660]], dtype=np.uint16)
    expected = np.array([[0, 0, 1, 128], [255, 255, 254, 18]])
    for payload in (png16(samples, 0), encoded(Image.fromarray(samples), "TIFF")):
        np.testing.assert_array_equal(rgb(payload)[..., 0], expected)
        assert rgb(payload).shape == (2, 4, 3)


def test_sixteen_bit_big_endian_tiff_is_scaled():
    image = Image.frombytes("I;16B", (2, 1), b"\x12\x34\xff\xff")
    assert rgb(encoded(image, "TIFF"))[0, :, 0].tolist() == [0x12, 255]


def test_sixteen_bit_gray_and_rgb_give_the_same_pixels():
    gray = np.random.default_rng(0).integers(0, 65536, (6, 5)).astype(np.uint16)
    as_gray = rgb(png16(gray, 0))
    np.testing.assert_array_equal(rgb(png16(np.stack([gray] * 3, axis=-1), 2)), as_gray)
    opaque = np.stack([gray, np.full_like(gray, 65535)], axis=-1)
    np.testing.assert_array_equal(rgb(png16(opaque, 4)), as_gray)


def test_twelve_bit_tiff_is_scaled_by_its_own_depth():
    payload = bytearray(encoded(Image.fromarray(np.zeros((1, 2), np.uint16)), "TIFF"))
    with Image.open(io.BytesIO(payload)) as image:
        pixels_at = image.tag_v2[273][0]
    payload[payload.index(struct.pack("<HHIHH", 258, 3, 1, 16, 0)) + 8] = 12
    payload[pixels_at : pixels_at + 3] = b"\xff\xf8\x00"  # 4095, 2048
    assert rgb(bytes(payload))[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_a_known_white_are_unsupported(mode):
    payload = encoded(noise(8, 8, channels=1).convert(mode), "TIFF")
    with pytest.raises(UnsupportedImage, match=f"mode {mode} have no defined conversion"):
        load_pixels(payload, SPEC, LIMITS)


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours_and_is_not_inverted(name):
    """Adobe stores JPEG's CMYK inverted, and so does Pillow when it writes."""
    image = Image.new("RGB", (16, 16), (200, 30, 90))
    payload = encoded(image.convert("CMYK"), name)
    assert name != "JPEG" or b"Adobe" in payload
    np.testing.assert_allclose(rgb(payload).astype(int), np.asarray(image), atol=4)


def test_colour_profiles_are_ignored():
    image = noise(20, 20)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    np.testing.assert_array_equal(rgb(encoded(image, "PNG", icc_profile=profile)), np.asarray(image))


# Transparency


def half_transparent():
    image = Image.new("RGBA", (4, 1), (200, 0, 100, 255))
    image.putpixel((0, 0), (200, 0, 100, 0))
    image.putpixel((1, 0), (200, 0, 100, 128))
    return image


def test_transparency_is_laid_over_white_or_dropped():
    payload = encoded(half_transparent(), "PNG")
    assert rgb(payload)[0].tolist() == [[255, 255, 255], [227, 127, 177], [200, 0, 100], [200, 0, 100]]
    assert rgb(payload, DROP)[0].tolist() == [[200, 0, 100]] * 4


@pytest.mark.parametrize("alpha", ["white", "drop"])
@pytest.mark.parametrize("size", [(1200, 1000), (1_000_001, 2)])  # processed in strips of rows
@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "P bytes", "L", "RGB", "1"])
def test_transparency_in_strips_gives_the_same_pixels(mode, size, alpha):
    image = noise(7, size[1], channels=4).convert(mode.split()[0]).resize(size, Image.Resampling.NEAREST)
    keys = {
        "P": 3,
        "P bytes": bytes(range(256)),
        "L": 3,
        "RGB": image.convert("RGB").getpixel((0, 0)),
        "1": 255,
    }
    if mode in keys:
        image.info["transparency"] = keys[mode]
    whole = image.convert("RGBA")
    if alpha == "white":
        whole = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)
    assert colour.to_rgb(image, alpha).tobytes() == whole.convert("RGB").tobytes()


def test_transparent_palette_image_costs_little_more_than_its_rgb_pixels():
    code = (
        "import io, resource; from PIL import Image; from diptych.bundle.image import colour\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "image = Image.new('P', (4000, 4000)); image.info['transparency'] = 0; image.load()\n"
        "before = peak(); colour.to_rgb(image, 'white'); print((peak() - before) / 16e6)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(answer.stdout) < 8  # bytes a pixel: 4 of the result, and a strip; 16 if processed whole


def test_transparent_colour_key_of_rgb_and_gray():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((0, 0), (7, 8, 9))
    assert rgb(encoded(image, "PNG", transparency=(7, 8, 9)))[0].tolist() == [[255, 255, 255], [1, 2, 3]]
    gray = np.array([[300, 301]], dtype=np.uint16)
    payload = png16(gray, 0, png_chunk(b"tRNS", struct.pack(">H", 300)))
    assert rgb(payload)[0, :, 0].tolist() == [255, 1]
    assert rgb(payload, DROP)[0, :, 0].tolist() == [1, 1]


# EXIF


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    payload = encoded(noise(24, 16), name, exif=exif)
    with Image.open(io.BytesIO(payload)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(rgb(payload), expected)
    assert expected.shape[:2] == ((16, 24) if orientation < 5 else (24, 16))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"", b"Exif\0\0MM\0*\0\0\0\x08"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_unreadable_exif_means_upright(exif):
    image = noise(24, 16)
    np.testing.assert_array_equal(rgb(encoded(image, "PNG", exif=exif)), np.asarray(image))


# Animations


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_animations_give_their_first_picture(name):
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    frames = [Image.new("RGB", (16, 16), colour) for colour in colours]
    payload = encoded(frames[0], name, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(payload)) as image:
        assert image.n_frames == 3
    np.testing.assert_allclose(rgb(payload).astype(int), np.asarray(frames[0]), atol=6)


# Damage


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in LOSSLESS), ("JPEG", {"progressive": True})]
)
def test_truncated_file_is_an_error_or_lacks_nothing(name, options):
    payload = encoded(noise(40, 30), name, **options)
    whole = rgb(payload)
    for end in range(len(payload)):
        try:
            found = rgb(payload[:end])
        except UndecodableImage:
            continue
        except UnsupportedImage:
            assert end < 16 or name == "TIFF"  # too short; the directory of a TIFF may be last
            continue
        np.testing.assert_array_equal(found, whole)
        assert end > len(payload) - 25


def test_intact_tiff_of_a_kind_that_no_decoder_knows_is_unsupported():
    with pytest.raises(UnsupportedImage, match=r"this kind of TIFF cannot be read, or its header is damaged"):
        rgb(float_rgb_tiff(np.full((2, 3, 3), 0.5, np.float32)))


def float_rgb_tiff(samples):
    height, width, _ = samples.shape
    n_entries, short, long = 9, 3, 4
    bits_at = 8 + 2 + 12 * n_entries + 4
    formats_at, pixels_at = bits_at + 6, bits_at + 12
    entries = [
        (256, long, 1, width), (257, long, 1, height), (258, short, 3, bits_at), (259, short, 1, 1),
        (262, short, 1, 2), (273, long, 1, pixels_at), (277, short, 1, 3),
        (279, long, 1, samples.nbytes), (339, short, 3, formats_at),
    ]  # fmt: skip
    folder = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", n_entries) + folder + bytes(4)
    return header + struct.pack("<6H", 32, 32, 32, 3, 3, 3) + samples.tobytes()


def test_header_without_pixels_is_undecodable():
    with pytest.raises(UndecodableImage, match=r"^PNG image: "):
        load_pixels(header_only_png(10, 10), SPEC, LIMITS)


def test_damaged_header_of_a_known_format_is_undecodable():
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBP"):
        with pytest.raises(UndecodableImage) as refusal:
            probe(start + b"nonsense" * 10, LIMITS)
        assert "0x" not in str(refusal.value)


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.filterwarnings("ignore")  # decoders warn about damaged files
@given(seed=st.integers(0, 2**32))
def test_damaged_files_raise_input_errors_only(name, seed):
    assert_only_input_errors(DAMAGE_BASE[name], seed)


def assert_only_input_errors(payload: bytes, seed: int) -> None:
    rng = random.Random(seed)
    damaged = bytearray(payload)
    for _ in range(rng.randint(1, 8)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    try:
        assert load_pixels(bytes(damaged), SPEC, ImageLimits(max_px=1_000_000)).shape == (32, 32, 3)
    except InputError as error:
        assert error.message


DAMAGE_BASE = {name: encoded(noise(12, 10), name) for name in LOSSLESS}


# Limits


def test_file_over_the_byte_limit_is_too_large():
    payload = encoded(noise(20, 20), "PNG")
    with pytest.raises(TooLarge, match=f"image has {len(payload)} bytes, limit is 100"):
        load_pixels(payload, SPEC, ImageLimits(max_bytes=100))


def test_pixels_are_counted_before_they_are_decoded():
    with pytest.raises(TooLarge, match="image has 8000 x 8000 = 64000000 pixels, limit is 50000000"):
        load_pixels(header_only_png(8000, 8000), SPEC, LIMITS)


def test_pixels_that_the_decoder_refuses_itself_are_counted_against_our_limit():
    with pytest.raises(TooLarge, match=r"^image has 400000000 pixels, limit is 50000000$"):
        load_pixels(header_only_png(20000, 20000), SPEC, LIMITS)


def test_words_of_a_decoder_are_one_printable_line(monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("Invalid input:\n bad\0 box\x1b[0m\n")

    monkeypatch.setattr("diptych.bundle.image.decode.Image.open", fail)
    with pytest.raises(UndecodableImage, match=r"^PNG image: Invalid input: bad box \[0m$"):
        probe(encoded(noise(4, 4), "PNG"), LIMITS)


def test_resized_intermediate_is_counted_before_pixels_are_decoded():
    spec = image_spec(size=224)
    complaint = "a 1 x 30000 image, once resized, has 224 x 6720000 = 1505280000 pixels, limit is 50000000"
    with pytest.raises(TooLarge, match=complaint):
        load_pixels(header_only_png(1, 30000), spec, LIMITS)
    with pytest.raises(TooLarge, match="once resized, has 6720000 x 224"):
        preprocess(Image.new("RGB", (30000, 1)), spec, LIMITS)
    assert probe(header_only_png(1, 30000), LIMITS).height == 30000


def test_strip_that_needs_no_large_intermediate_works():
    payload = encoded(Image.new("RGB", (1, 30000), (9, 9, 9)), "PNG")
    for resize_mode in ("longest", "squash"):
        assert load_pixels(payload, image_spec(size=224, resize_mode=resize_mode), LIMITS).shape == (
            224,
            224,
            3,
        )


@pytest.mark.parametrize("action", ["error", "ignore"])
@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000)])
def test_bombs_are_too_large_whatever_pillow_thinks_of_them(action, size):
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(TooLarge, match="limit"):
            load_pixels(header_only_png(*size), SPEC, LIMITS)


def test_pixel_limit_beyond_the_decoders_own_is_a_setting_error():
    with pytest.raises(ConfigError, match="max_px is 100000000, the image decoder goes up to"):
        ImageLimits(max_px=100_000_000)


def test_one_pixel_is_an_image():
    pixels = load_pixels(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"), SPEC, LIMITS)
    assert pixels.reshape(-1, 3).tolist() == [[1, 2, 3]] * 32 * 32


# Thumbnails


def test_thumbnail_is_small_upright_and_free_of_metadata():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    payload = encoded(noise(300, 200), "JPEG", exif=exif, icc_profile=profile, comment=b"at home")
    with Image.open(io.BytesIO(thumbnail(payload, LIMITS, 64))) as small:
        assert (small.format, small.size) == ("WEBP", (43, 64))
        assert not small.getexif()
        assert small.info.keys().isdisjoint({"exif", "icc_profile", "xmp", "comment"})


def test_thumbnail_never_enlarges_and_lays_transparency_over_white():
    payload = encoded(Image.new("RGBA", (10, 20), (0, 0, 0, 0)), "PNG")
    with Image.open(io.BytesIO(thumbnail(payload, LIMITS, 64))) as small:
        assert small.size == (10, 20)
        assert small.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("size_px", [0, -1, 5000])
def test_thumbnail_size_has_limits(size_px):
    with pytest.raises(InvalidValue, match=f"thumbnail size is {size_px}"):
        thumbnail(encoded(noise(4, 4), "PNG"), LIMITS, size_px)
