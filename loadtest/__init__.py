"""Measurements: the pod against its peers, its floors and its own limits."""
