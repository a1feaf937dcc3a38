"""Fetches images by their https URLs from public hosts only: a URL in, the bytes of the file out.

Read `https_fetcher` first, which joins the strict URL parser (`https_urls`), the resolver (`system_resolver`)
and the connection to checked addresses (`checked_network`).
"""
