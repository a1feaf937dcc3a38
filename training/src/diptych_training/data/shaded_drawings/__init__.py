"""Shaded drawings of whole styles that nothing was trained or tuned on, to measure models on.

In: packages of npm and Debian. Out: folders of classes that `benchmark --on` reads. Start with `command`.
"""
