"""The contract between training and server: what a model bundle is, and how its inputs are prepared.

Training writes bundles and the server reads them; both prepare images (`image`) and texts (`text`) with the
code here. Read `schema` first (the manifest), then `repository` (`<name>/<version>/` on disk) and `golden`
(how a machine proves that it reproduces the trained model). The package imports neither a runtime nor torch.
"""
