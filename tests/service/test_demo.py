"""``make demo``, a newcomer's first minute: what it shows, and that its pod goes when it does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import psutil
import pytest
import requests

from deploy.local.pod import ROOT, Pod
from tests.servers import free_port


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGHUP], ids=["ctrl-c", "terminal closed"])
def test_the_demo_shows_all_and_takes_its_pod_along(tmp_path, told):
    pod = Pod(tmp_path / "pod")
    demo = subprocess.Popen(
        [sys.executable, "-m", "deploy.local.demo", "--port", str(free_port())],
        cwd=ROOT,
        env={**os.environ, "POD_HOME": str(pod.home), "WEB_CONCURRENCY": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        shown = ""
        while "Ctrl-C ends" not in shown and (line := demo.stdout.readline()):
            shown += line
        assert "photo: 1 face(s) hidden" in shown
        assert "drawing: 3 animations" in shown
        links = re.findall(r": (http\S+X-Amz-Signature\S+)", shown)
        assert len(links) == 7
        assert {requests.get(link, timeout=30).status_code for link in links} == {200}
        of_it = [one for one in psutil.process_iter(["cmdline"]) if str(pod.home) in str(one.info)]
        assert of_it
        demo.send_signal(told)
        assert demo.wait(timeout=120) == 0
        assert psutil.wait_procs(of_it, timeout=30)[1] == []
    finally:
        pod.down()
        demo.kill()
