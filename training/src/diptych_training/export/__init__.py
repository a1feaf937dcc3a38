"""From trained weights to a published bundle that was proven equal to them; knows nothing of training."""
