"""The container images: how they are installed, and a proof that they work without an engine."""
