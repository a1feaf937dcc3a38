"""ASGI middlewares, in the order in which a request meets them: see `app.create_app`.

drain (early responses), access_log (request id, log, metrics), timeout, auth (head size, host, key) and
body_budget (memory for bodies). Each takes the next application and passes on what it does not reject.
"""
