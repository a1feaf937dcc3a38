"""Image-text pairs: how they are stored, built, sampled and augmented."""
