"""Prepares image files for an encoder: bytes in, (S, S, 3) uint8 RGB out, the same in training and server.

Read `preprocess` first: it lists what becomes of each kind of file. `decode` opens files within limits,
`colour` converts to RGB, `geometry` and `resize` fit the picture into the model's square.
"""
