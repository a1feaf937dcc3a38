"""Move a running server, or one collection, to another version or precision without an interruption.

In: a version to activate. Out: the version that requests use, and collections whose indexes were filled
before they were switched. Read `service` (calls), `worker` (runs what waits in `known`) and `run` in this
order; `watcher` starts rollouts by itself, and `compare` judges the new vectors before a switch.
"""
