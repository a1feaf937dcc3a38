"""Read files at paths and URLs of any file system that fsspec knows, with retries.

In: paths, URLs and patterns. Out: open files, contents and listings. Start with `urls`; `retry` decides what
is asked again, `unpack` decompresses, `streams` reads forward.
"""
