"""Zero-shot classification and retrieval on sources that the model never saw; knows nothing of training."""
