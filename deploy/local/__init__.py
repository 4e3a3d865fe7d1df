"""The pod on one machine: the same processes that a cluster runs, under supervisor."""
