"""Parts shared by the readers of open_clip, transformers and our own checkpoints.

They read weight files safely (no code of a checkpoint runs), check logits and licences, and define
`imported_model.ImportedModel`, which every reader returns. Start there.
"""
