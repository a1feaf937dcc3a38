"""The state that answers use: one snapshot of the version that serves and of the vectors of all collections.

A request takes the snapshot once (`Serving.use`) and uses nothing else. A rollout builds the next snapshot
and switches to it; the one before is kept for a rollback. Read `snapshot` first, then `live_index`.
"""
