"""Captions that programs write into pictures: XMP and IPTC.

In: the bytes of a picture. Out: its `Texts`, or None without a caption; ValueError names what cannot be read.
Read `captions` first; `iptc` reads one kind of block, `bundle.image.xmp` the other.
"""
