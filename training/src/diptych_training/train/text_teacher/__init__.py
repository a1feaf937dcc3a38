"""Distillation of a text tower from a sentence encoder: texts go in, embeddings to learn come out.

`sentence_encoder` opens an encoder, embeds texts and keeps what it computed on disk; `text_space` centres and
reduces the embeddings.
"""
