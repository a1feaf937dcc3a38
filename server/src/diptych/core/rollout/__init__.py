"""Move a running server to another version or precision without an interruption.

In: a version to activate. Out: the snapshot that requests use, whose indexes were filled before
the switch. Read `service` (calls), `worker` (runs what waits in `known`) and `run` in this
order; `watcher` starts rollouts by itself, and `compare` judges the new vectors before a switch.
"""
