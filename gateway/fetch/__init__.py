"""Fetch an image by its URL without being sent where nobody should get by a URL.

The story: read the URL → check host and port → look its addresses up once → check each →
connect to just these → follow redirects, each as if it were a URL that was sent → take the
body up to a limit → recognise it by its content. Every failure has a code (``faults``).
"""
