"""Fixtures for all tests: real servers, started once and only when asked for."""

from tests.servers import redis_url, s3_endpoint, settings

__all__ = ["redis_url", "s3_endpoint", "settings"]
