"""Names of the same weights in three libraries, both ways; knows nothing of files or training."""

from diptych_training.weight_names.layouts import Layout, from_layout, layout_of, to_layout

__all__ = ["Layout", "from_layout", "layout_of", "to_layout"]
