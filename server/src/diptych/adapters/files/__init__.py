"""Files of the data folder outside the database: images, thumbnails, job inputs, the lock, the quota,
measurements.

Read `image_files` first. Bytes and sha256 go in; whole, durable files readable by their owner alone come out.
"""
