"""Libraries: pictures that stay in folders of their own and are added by reference.

A folder that the operator names goes in; images of the collection of the same name come out, which are kept
in step with the files. Read `service` first, then `scan` (one scan) and `plan` (what it has to do). `images`
reads originals from their places; `ports` names what folders and stores must provide.
"""
