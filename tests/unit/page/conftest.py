"""The web page in a real browser, against the stand-in of the pod, and files to hand it."""

import shutil

import av
import numpy as np
import pytest
import skimage.data
from page_standin import standin
from PIL import Image

from tests.browsers import opened


@pytest.fixture
def pod():
    with standin() as state:
        yield state


@pytest.fixture
def page(browser, pod):
    with opened(browser, pod.url, height=800, patience=10) as page:
        yield page


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{photo,busy,broken,blank}.jpg, large.jpg of 33 MiB; clip.mp4, slow.mp4, lost.mp4."""
    folder = tmp_path_factory.mktemp("files")
    picture = Image.fromarray(skimage.data.astronaut())
    for name in ("photo.jpg", "busy.jpg", "broken.jpg", "blank.jpg", "large.jpg"):
        picture.save(folder / name)
    with (folder / "large.jpg").open("r+b") as file:
        file.truncate(33 * 2**20)  # zeros after the end of a JPEG do no harm
    with av.open(str(folder / "clip.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for n in range(60):
            frame = np.full((120, 160, 3), n * 4, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        out.mux(stream.encode())
    for name in ("slow.mp4", "lost.mp4"):
        shutil.copy(folder / "clip.mp4", folder / name)
    return folder
