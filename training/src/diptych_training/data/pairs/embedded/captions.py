"""Find the caption that a picture carries in itself."""

from diptych.bundle.image.preprocess import ImageLimits, TextBlocks, text_blocks
from diptych.bundle.image.xmp import read_xmp
from diptych.bundle.manifest import ImageSpec
from diptych.errors import InputError
from diptych_training.data.pairs.embedded.iptc import read_iptc
from diptych_training.data.pairs.embedded.written import Written, texts_of_blocks
from diptych_training.data.pairs.image_files import plain_spec, run_isolated
from diptych_training.data.pairs.pair import Texts


def embedded_texts(picture: bytes, limits: ImageLimits) -> Texts | None:
    """The texts in XMP and IPTC of an image file, whose pixels are not decoded; None without a caption.

    ValueError for a file that cannot be opened within the limits, and for XMP or IPTC that cannot be read.
    """
    try:
        blocks = run_isolated(_blocks, picture, plain_spec(), limits)
    except InputError as error:
        raise ValueError(str(error)) from None
    xmp = read_xmp(blocks.xmp)
    return texts_of_blocks(Written(xmp.caption, xmp.title, xmp.keywords), read_iptc(blocks.iptc))


def _blocks(picture: bytes, _: ImageSpec, limits: ImageLimits) -> TextBlocks:
    return text_blocks(picture, limits)
