"""What the figures of a study share."""

from matplotlib.axes import Axes

COLOURS = ("#1f5f8f", "#d1495b", "#3a8f5c", "#f2a541", "#7a4fa3", "#00798c", "#8c6d46", "#666666")
INK = "#333333"


def style_axis(axis: Axes) -> None:
    """Pale grid, no frame."""
    axis.grid(color="#e6e6e6", lw=0.7, zorder=0)
    axis.tick_params(length=0, labelsize=8, colors=INK)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)
