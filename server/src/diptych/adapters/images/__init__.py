"""Decodes uploaded image files: bytes in, pictures for the model or WebP thumbnails out.

Read `pillow_decoder` first. `decoder_processes` isolates the decoders of TIFF, AVIF and HEIC, `guards`
refuses files that are small to send and expensive to decode, `memory` bounds what all threads hold. Training
uses the guards and the processes too.
"""
