"""Write a model's towers as ONNX files, and read, index and rewrite ONNX graphs.

In: a torch model. Out: graphs with a bundle's signatures, and the other model files of a bundle. Start with
`bundle_files`, which exports, and `graph`, the index that quantising and optimising use.
"""
