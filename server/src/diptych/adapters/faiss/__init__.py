"""Vector indexes in FAISS: keys and unit vectors in, the nearest keys and their cosines out.

Read `flat_index` first (exact, on the CPU), then `gpu_index` (exact, with a copy of the rows on a GPU).
"""
