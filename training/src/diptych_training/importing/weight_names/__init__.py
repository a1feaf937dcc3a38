"""Convert state dicts between our tensor names and those of open_clip and transformers.

In and out: state dicts. Start with `layouts`, which accounts for every tensor; `open_clip` and `hugging_face`
list the tensors of each layout as `entry.Entry`.
"""

from diptych_training.importing.weight_names.layouts import Layout, from_layout, layout_of, to_layout

__all__ = ["Layout", "from_layout", "layout_of", "to_layout"]
