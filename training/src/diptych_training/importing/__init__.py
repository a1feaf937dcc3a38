"""From somebody else's checkpoint to a bundle that was proven equal to it; knows nothing of training."""
