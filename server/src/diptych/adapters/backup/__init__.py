"""Backs up, verifies, restores, checks and exports data folders, also while a server uses them.

Read `folder` first (what a backup folder contains), then `create` and `restore`. `data_folder` reads a data
folder without changing it.
"""
