"""API keys: what they look like, how their lines are read, how they change as the service runs."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import logging
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import cli
from gateway.access import CLIENT_KEY, keys
from gateway.access.keys import Key, KeyRing, digest_of, new_key, parse
from gateway.access.owner import own_key, owner
from gateway.http import access
from gateway.settings import Settings, SettingsError, origins_of, rates_of

ANN, BEN = new_key(), new_key()


def line(name, key, more=""):
    return f"{name}:{digest_of(key)} {more}".strip()


def test_keys_are_long_and_random_and_only_their_hash_is_kept():
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"mq_[\w-]{43}", key) for key in made)
    assert digest_of(ANN) == hashlib.sha256(ANN.encode()).hexdigest()


def test_lines_hold_names_hashes_and_limits():
    text = f"# ours\n{line('ann', ANN, 'rate=20/second;600/minute size=10 day=0')} # phone\n\n"
    ann, ben = parse(text + line("ben.2_x-y", BEN))
    assert ann == Key("ann", digest_of(ANN), "20/second;600/minute", 10, 0)
    assert ben == Key("ben.2_x-y", digest_of(BEN))
    assert parse(f"{ann},{ben}") == (ann, ben)
    assert parse("") == parse("# nobody yet\n , ,") == ()


@pytest.mark.parametrize(
    "text",
    [
        ANN,
        f"ann:{ANN}",
        f":{digest_of(ANN)}",
        f"an n:{digest_of(ANN)}",
        f"ann:{digest_of(ANN).upper()}",
        f"ann:{digest_of(ANN)[1:]}",
        line("ann", ANN, "rate=often"),
        line("ann", ANN, "rate=0/second"),
        line("ann", ANN, "size=-1"),
        line("ann", ANN, "size=²"),
        line("ann", ANN, "size"),
        line("ann", ANN, "name=ben"),
        line("ann", ANN, "day=1 day=2"),
        line("a" * 65, ANN),
    ],
    ids=map(str, range(14)),
)
def test_a_wrong_line_is_refused_without_being_repeated(text):
    with pytest.raises(ValueError, match=r"entry 2 is not of the form NAME:SHA256") as caught:
        parse(f"{line('ben', BEN)},{text}")
    assert ANN not in str(caught.value) and digest_of(ANN) not in str(caught.value)


def test_the_same_key_twice_is_a_mistake():
    with pytest.raises(ValueError, match="twice"):
        parse(f"{line('ann', ANN)},{line('ben', ANN)}")


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
rates = st.lists(
    st.builds(
        "{}/{}".format,
        st.integers(1, 999_999_999),
        st.sampled_from(["second", "minute", "hour", "day"]),
    ),
    max_size=3,
).map(";".join)
entries = st.builds(
    Key,
    names,
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.none() | rates,
    st.none() | st.integers(0, 2**63),
    st.none() | st.integers(0, 2**63),
)


@settings(max_examples=30)
@given(st.lists(entries, max_size=3, unique_by=lambda key: key.digest), st.sampled_from(",\n"))
def test_what_is_written_is_read(made, between):
    assert parse(between.join(map(str, made))) == tuple(made)


@given(st.text())
def test_any_text_is_read_or_refused_and_what_is_read_can_be_written(text):
    try:
        made = parse(text)
    except ValueError:
        return
    assert parse("\n".join(map(str, made))) == made


@given(st.text())
def test_any_text_is_a_rate_or_refused(text):
    for read in (rates_of, origins_of):
        try:
            parts = read(text)
        except ValueError:
            continue
        assert read((";" if read is rates_of else ",").join(parts)) == parts


# the ring


def ring(file=None, keys=""):
    return KeyRing(Settings(api_keys=keys, api_keys_file=str(file or "")))


def test_a_key_is_found_by_its_hash_alone():
    known = ring(keys=f"{line('ann', ANN)},{line('ann', BEN, 'size=7')}")
    assert known.find(ANN).name == known.find(BEN).name == "ann"
    assert known.find(BEN).size == 7
    for wrong in ("", ANN[:-1], ANN + " ", digest_of(ANN), "ann", "é"):
        assert known.find(wrong) is None


def test_every_key_is_compared_in_constant_time(monkeypatch):
    compared, really = [], hmac.compare_digest

    def compare(a, b):
        compared.append(a)
        return really(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    known = ring(keys=f"{line('ann', ANN)},{line('ben', BEN)}")
    for presented in (ANN, BEN, "neither"):
        compared.clear()
        known.find(presented)
        assert compared == [digest_of(ANN), digest_of(BEN)]


@pytest.fixture
def fresh(monkeypatch):
    """The file is looked at each time."""
    monkeypatch.setattr(keys, "_FRESH", 0.0)


def test_keys_change_without_a_restart(tmp_path, fresh):
    file = tmp_path / "keys"
    file.write_text(line("ann", ANN))
    known = ring(file)
    assert known.find(ANN) and not known.find(BEN)
    file.write_text(f"{line('ann', ANN)}\n{line('ann', BEN)}")  # both, while clients change over
    assert known.find(ANN) and known.find(BEN)
    file.write_text(line("ann", BEN))
    assert known.find(BEN) and not known.find(ANN)


def test_a_mounted_secret_is_swapped_by_a_link(tmp_path, fresh):
    for name, key in (("old", ANN), ("new", BEN)):
        (tmp_path / name).write_text(line("ann", key))
        os.utime(tmp_path / name, (1, 1))  # of the same size and age
    (tmp_path / "keys").symlink_to("old")
    known = ring(tmp_path / "keys")
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").replace(tmp_path / "keys")
    assert known.find(BEN) and not known.find(ANN)


@pytest.mark.parametrize("slip", [b"ann:nonsense", b"", b"\xff", None])
def test_a_slip_in_the_file_lets_nobody_in(tmp_path, fresh, caplog, slip):
    file = tmp_path / "keys"
    file.write_text(line("ann", ANN))
    known = ring(file)
    if slip is None:
        file.unlink()
    else:
        file.write_bytes(slip)
    assert known.asked_for
    assert bool(known.find(ANN)) == (slip != b"")  # emptied on purpose: all keys are taken out
    assert not known.find(BEN)
    assert ("the old keys stay" in caplog.text) == (slip != b"")
    assert str(file) not in caplog.text and "0xff" not in caplog.text
    file.write_text(line("ben", BEN))
    assert known.find(BEN) and not known.find(ANN)


def test_a_file_without_keys_is_locked_and_no_file_is_open(tmp_path):
    (tmp_path / "keys").touch()
    assert ring(tmp_path / "keys").asked_for
    assert not ring().asked_for


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"api_keys": ANN}, "API_KEYS: entry 1"),
        ({"api_keys_file": "/no/such"}, "API_KEYS_FILE: .*No such file"),
    ],
)
def test_a_start_with_wrong_keys_is_refused(given, names):
    with pytest.raises(SettingsError, match=names) as caught:
        access.announce(Settings(**given))
    assert ANN not in str(caught.value)


def test_a_client_s_key_is_no_setting():
    with pytest.raises(SettingsError, match="holds hashes") as caught:
        Settings.from_env({CLIENT_KEY: ANN})
    assert ANN not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "says", "level"),
    [
        ({}, "whoever reaches this address may use the service", logging.WARNING),
        ({"api_keys_file": "{empty}"}, "nobody is let in", logging.WARNING),
        ({"api_keys": line("ann", ANN)}, "known are those of ann", logging.INFO),
    ],
)
def test_the_start_says_who_may_come_in(tmp_path, caplog, given, says, level):
    (tmp_path / "empty").touch()
    given = {name: text.replace("{empty}", str(tmp_path / "empty")) for name, text in given.items()}
    with caplog.at_level(logging.INFO):
        access.announce(dataclasses.replace(Settings(), **given))
    (record,) = caplog.records
    assert says in record.getMessage() and record.levelno == level
    assert digest_of(ANN) not in caplog.text


# owners


def test_what_is_somebody_s_lies_where_others_do_not_look():
    places = set()
    for name in ("", "ann", "ben"):
        owner.set(name)
        places.add(own_key("rigs/", "t" * 32))
    owner.set("")
    assert len(places) == 3
    assert "rigs/" + "t" * 32 in places
    assert all(re.fullmatch(r"rigs/([0-9a-f]{16}\.)?t{32}", place) for place in places)


# the command


def test_a_key_is_made_and_its_line_let_in(capsys):
    assert cli.main(["keys", "new", "ann", "--rate", "5/second", "--day", "9"]) == 0
    _, secret, _, made = capsys.readouterr().out.splitlines()
    found = ring(keys=made).find(secret.strip())
    assert (found.name, found.rate, found.size, found.day) == ("ann", "5/second", None, 9)


def test_a_line_is_added_to_a_file(tmp_path, capsys):
    file = tmp_path / "keys"
    file.write_text("# ours")  # an editor that ends no last line
    for name in ("ann", "ben"):
        assert cli.main(["keys", "new", name, "--file", str(file)]) == 0
        assert ring(file).find(capsys.readouterr().out.strip()).name == name
    assert ring(file).names == ["ann", "ben"]


@pytest.mark.parametrize("wrong", [["a b"], ["ann", "--rate", "often"], ["ann", "--size", "-1"]])
def test_a_wrong_wish_is_refused_and_no_key_shown(capsys, wrong):
    assert cli.main(["keys", "new", *wrong]) == 2
    assert "mq_" not in capsys.readouterr().out
