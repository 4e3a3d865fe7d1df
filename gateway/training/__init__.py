"""Training jobs: a model's own script, run with checked parameters, its outputs in the bucket.

``{"pipeline": "train", "model": "rigger", "device": "gpu", "gpus": 2, "params": {"rate": 1e-3}}``

- :func:`check` when a job is submitted: the parameters against the script's own argparse.
- :func:`run` in a worker: to the end, or until told to stop; resumes where an attempt before
  it was broken off.
- :func:`view` for whoever asks about the job: metrics, and links to what it has made so far.
"""

from gateway.training.arguments import check
from gateway.training.runner import HandedBack, run
from gateway.training.status import view

__all__ = ["HandedBack", "check", "run", "view"]
