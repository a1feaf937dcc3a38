"""Building blocks for threads and tasks that know nothing of images or models.

They bound, queue, share and time work: admission control, fair queues and executors, calls with a deadline, a
queue of writes, background tasks. Each module stands alone; read `admission` and `fair_queue` first.
"""
