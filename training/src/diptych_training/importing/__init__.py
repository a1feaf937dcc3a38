"""Import a foreign checkpoint as a bundle that is proven equal to it.

In: a folder, a file of weights or a hub id, of transformers, open_clip, OpenAI's CLIP or this package. Out:
the next version in a model repository. Start with `publish.import_checkpoint`; `source` picks the reader.
"""
