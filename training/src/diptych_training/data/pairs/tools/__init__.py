"""`diptych-train data shards`, `pack`, `inspect` and `near-duplicates`."""
