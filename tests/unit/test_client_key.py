"""The client and the command line with an API key."""

import io

import pytest
import requests
from page_standin import standin
from PIL import Image

from deploy.local.pod import caller_settings
from gateway import cli
from gateway.access import CLIENT_KEY
from gateway.client import DIRECT_LIMIT, Client
from gateway.errors import LimitReached, Unauthorized

KEY = "mq_the-right-one"


@pytest.fixture
def pod():
    with standin() as state:
        state.key = KEY
        yield state
    assert state.leaked == []


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (60, 40), "teal").save(path)
    return path


def test_a_key_goes_to_the_pod_and_to_nobody_else(pod, photo, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client = Client(pod.url, key=KEY)
    with photo.open("r+b") as file:
        file.truncate(DIRECT_LIMIT + 1)
    result = client.blur(photo, {})  # by way of the store
    client.download(result.url, io.BytesIO())
    assert len(pod.puts) == 1


@pytest.mark.parametrize("key", ["", "mq_a-wrong-one"])
def test_without_the_right_key_it_says_what_is_missing(pod, photo, key):
    with pytest.raises(Unauthorized, match="API key"):
        Client(pod.url, key=key).blur(photo, {})


def run(*words):
    return cli.main([str(word) for word in words])


@pytest.mark.parametrize("way", ["file", "variable"])
def test_commands_take_a_key(pod, photo, monkeypatch, capsys, way):
    more = []
    if way == "file":
        file = photo.with_name("key")
        file.write_text(f"{KEY}\n")
        more = ["--key-file", file]
    else:
        monkeypatch.setenv(CLIENT_KEY, KEY)
    assert run("blur", photo, "--url", pod.url, *more) == 0
    assert run("jobs", "list", "--url", pod.url, *more) == 0
    assert "no jobs" in capsys.readouterr().out


def test_commands_say_that_a_key_is_needed(pod, photo, capsys):
    assert run("jobs", "list", "--url", pod.url) == 1
    assert "this service needs an API key" in capsys.readouterr().err
    assert run("blur", photo, "--url", pod.url) == 1
    assert "this service needs an API key" in capsys.readouterr().err


def test_a_key_file_that_cannot_be_read_is_told(capsys):
    with pytest.raises(SystemExit):
        run("jobs", "list", "--key-file", "/no/such")
    assert "/no/such cannot be read" in capsys.readouterr().err


def test_a_client_s_key_does_not_reach_the_pod_that_is_started(monkeypatch):
    monkeypatch.setenv(CLIENT_KEY, KEY)
    monkeypatch.setenv("MASQUERADE_API_KEYS_FILE", "/keys")
    assert caller_settings()["MASQUERADE_API_KEYS_FILE"] == "/keys"
    assert CLIENT_KEY not in caller_settings()


def test_who_is_to_come_back_in_an_hour_is_told_so_at_once(pod, photo, monkeypatch):
    def far(*_, **__):
        answer = requests.Response()
        answer.status_code, answer.url, answer.raw = 429, pod.url, io.BytesIO()
        answer.headers["Retry-After"] = "3600"
        answer._content = b'{"code": "limit-reached", "detail": "come back in 3600 s"}'
        return answer

    monkeypatch.setattr(requests.Session, "request", far)
    waits = []
    with pytest.raises(LimitReached, match="come back in 3600 s"):
        Client(pod.url, key=KEY, pause=waits.append).blur(photo, {})
    assert waits == []
