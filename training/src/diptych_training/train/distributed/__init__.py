"""Training in several processes: ranks, replicated or sharded models, and signals.

Read `ranks` first (the processes and how they exchange values), then `parallel` (DDP and FSDP2).
"""
