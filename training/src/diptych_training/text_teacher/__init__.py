"""Distillation of a text tower from a sentence encoder: texts go in, embeddings to learn come out.

`sentence_encoder` opens an encoder and embeds texts, `cached_embeddings` keeps what it computed on disk, and
`text_space` centres and reduces the embeddings.
"""
