"""Prepares texts for an encoder: strings in, (B, L) int32 token ids out, the same in training and server.

Read `tokenizer` first; `clean` repairs what texts from the web have gone through.
"""
