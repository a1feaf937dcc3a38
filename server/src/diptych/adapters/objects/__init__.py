"""Image files as objects of an S3 bucket, by obstore.

Read `bucket` first: bounded requests, one line of the log for an outage. Bytes and sha256 go in; objects come
out, each with a name that no other one ever gets.
"""
