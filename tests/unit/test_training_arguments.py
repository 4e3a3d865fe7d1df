"""Parameters of a training: what the script's argparse takes, and nothing that could do harm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadOption
from gateway.training import check
from gateway.training.arguments import ROOT, command_line, gpus_used, models, total_steps
from model_store.rigger.arguments import parser

GOOD = {
    "steps": 300, "size": 64, "batch": 2, "rate": 1e-3, "fall": 0.5,
    "processes": 1, "workers": 0, "threads": 2, "bf16": True, "seed": 0,
}  # fmt: skip


def test_the_rigger_can_be_trained():
    assert models() == ["rigger"]


def test_good_parameters_are_given_back():
    assert check("rigger", GOOD) == GOOD
    assert check("rigger", {}) == {}
    assert check("rigger", {"rate": 1}) == {"rate": 1}


def test_every_parameter_of_the_script_is_open_but_two():
    names = {option for action in parser()._actions for option in action.option_strings}
    assert names - {"-h", "--help", "--out", "--device"} == {f"--{name}" for name in GOOD}


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"lr": 0.1}, r'unknown parameter "lr"; known are batch, .*, workers'),
        ({"out": "/etc"}, 'parameter "out" is set by the service'),
        ({"device": "cuda"}, 'parameter "device" is set by the service'),
        ({"help": True}, 'parameter "help" is set by the service'),
        ({"-h": True}, "parameter"),
        ({"--rate": 1.0}, "unknown"),
        ({"steps": "many"}, 'steps cannot be "many"'),
        ({"steps": "3"}, 'steps cannot be "3": it takes int'),
        ({"steps": 1.5}, r"steps cannot be 1\.5"),
        ({"steps": True}, "steps cannot be true"),
        ({"steps": None}, "steps cannot be null"),
        ({"steps": [1]}, r"steps cannot be \[1\]"),
        ({"steps": 0}, "steps: 0 is not a whole number from 1"),
        ({"steps": 10**400}, "steps: 1000"),
        ({"size": 100}, "size: 100 is no multiple of 32"),
        ({"workers": 100_000}, "workers: 100000 is not"),
        ({"rate": "1e-3"}, "rate cannot be"),
        ({"rate": float("nan")}, "rate: nan"),
        ({"rate": float("inf")}, "rate: inf"),
        ({"rate": -1}, "rate: -1"),
        ({"fall": 1.1}, "fall: 1.1"),
        ({"bf16": 1}, "bf16 is true or false, not 1"),
        ({"bf16": "; rm -rf /"}, "bf16 is true or false"),
        ({"x" * 500: 1}, "unknown parameter \"x{39}…"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(params, told):
    with pytest.raises(BadOption, match=told):
        check("rigger", params)


def test_all_that_is_wrong_is_named_at_once():
    with pytest.raises(BadOption, match=r'"lr".*steps.*bf16'):
        check("rigger", {"lr": 1, "steps": "x", "rate": 0.1, "bf16": 3})


@pytest.mark.parametrize("model", ["face_detector", "../rigger", "", "rigger.network", "os"])
def test_only_what_has_a_script_can_be_trained(model):
    with pytest.raises(BadOption, match="can train rigger"):
        check(model, {})


def test_the_check_needs_no_torch():
    code = (
        "import sys; from gateway.training import check; check('rigger', {'rate': 0.1});"
        "assert not {'torch', 'mmcv', 'cv2', 'tensorboard'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


_JSON = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
)


@settings(deadline=None)
@given(
    st.dictionaries(st.one_of(st.sampled_from([*GOOD, "out", "device", "help"]), st.text()), _JSON)
)
def test_whatever_passes_the_check_the_script_understands_as_meant(params):
    """No value becomes another option, and the service's own come last."""
    try:
        checked = check("rigger", params)
    except BadOption:
        return
    line = command_line("rigger", checked, "gpu", Path("/kept"))
    assert line[:2] == ["-m", "model_store.rigger.train"]
    parsed = vars(parser().parse_args(line[2:]))
    assert parsed["out"] == Path("/kept")
    assert parsed["device"] == "cuda"
    for name, value in params.items():
        assert parsed[name] == value


def test_steps_and_gpus_are_known_beforehand():
    assert total_steps("rigger", {"steps": 7}) == 7
    assert total_steps("rigger", {}) == parser().get_default("steps")
    assert (gpus_used("rigger", 4), gpus_used("rigger", 0)) == (1, 0)
