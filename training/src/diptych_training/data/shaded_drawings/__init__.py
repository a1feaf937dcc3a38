"""Shaded drawings that nothing was trained or tuned on, to measure models on.

`fluent-3d` has the motifs of `fluent-modern`, a style of the training data; the icon themes are styles apart.

In: packages of npm and Debian. Out: folders of classes that `benchmark --on` reads. Start with `command`.
"""
