"""Start a run from an existing model, mix fine-tuned weights with the original's, and export weights.

In: a run, a bundle, or a checkpoint of another library. Out: a `SourceModel` that training starts from, a
mixed run (WiSE-FT), or a weights file with another library's names. Start with
`source_model.open_source_model`.
"""
