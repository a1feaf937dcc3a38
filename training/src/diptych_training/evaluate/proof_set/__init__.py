"""The proof set of a bundle: openly licensed pictures at the model's size, with their texts.

In: a packed data set of drawings, or the photographs that imports are proven on. Out: the file
`proof_set.npz`, and a `PackedDataset` to prove, calibrate, judge and rehearse with. Start with
`proof_set.ProofSet`, then `file` (reading, writing, which bundle's set is used) and `proof_data` (what an
export is proven on).
"""
