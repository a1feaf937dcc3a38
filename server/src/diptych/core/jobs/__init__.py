"""Adds that are too long for one request: accepted, run one after the other, reported, cancelled.

The input of a job is durable before the job is accepted, and the job continues after a restart. Read
`service` first, then `runner` and `queue`. `ports` names what the stores must provide.
"""
