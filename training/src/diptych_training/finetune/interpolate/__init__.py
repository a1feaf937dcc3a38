"""Fine-tuned weights mixed with the original's: what was learned is kept, and less of the old is lost."""
