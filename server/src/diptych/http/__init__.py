"""The HTTP API: turns requests into calls of core's use cases, and their results into responses.

`app.create_app` builds the application from options and a function that loads the services. Read `app` first,
then one endpoint, such as `endpoints.embed`. Imports go one way: context, state and options -> errors ->
parsing -> middleware -> endpoints -> app.
"""
