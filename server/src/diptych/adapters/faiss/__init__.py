"""Vector indexes in FAISS: keys and unit vectors in, the nearest keys and their cosines out.

Read `cpu_index` first: exact by `rows`, and in large collections by `ivf_rows`, which `ivf_training` makes
and `ivf_file` keeps in the data folder. `gpu_index` is exact, with a copy of the rows on a GPU.
"""
