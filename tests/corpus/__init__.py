"""Malformed media, made from seeds: what somebody who wants to break the service would send.

A case is all of a request but the service: bytes, name, declared type, route. It is known by
its run's seed and its number, ``7:123``, and made from these alone, so that each can be made
again by itself: ``python -m tests.corpus 7:123 --url http://127.0.0.1:8000``.
"""
