"""Images that a request names by URL: which hosts are allowed, and bounded fetching.

`image_urls` replaces URLs by image files; read it first. `host_rules` and `public_addresses` decide which
hosts and addresses may be asked. The network itself is an adapter.
"""
