"""The composition root: the only package that picks adapters. Settings go in, running services come out.

Start with `services.load`, which builds everything that a server needs; `core.build_core`, which tests call
too, connects the core to its adapters. `version_loader` loads one version,
at the start and while requests run. `data_folders` opens data folders, backups and Parquet files for
commands that run without a server; `loading` and `precisions` load and prove bundles, and `check` uses them
too. Importing this package alone imports no model runtime.
"""
