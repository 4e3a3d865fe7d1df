"""A launcher that makes nothing: whatever workers run will do a batch."""

from __future__ import annotations

import pytest

from gateway.errors import BadOption
from gateway.launch import Order
from gateway.launch.local import LocalLauncher

BATCH = "a" * 32


@pytest.fixture
def local():
    return LocalLauncher()


def test_nothing_is_made(local):
    assert local.launch(BATCH, Order(2)) is None
    assert local.view(BATCH) is None
    assert list(local.follow(BATCH)) == []
    assert not local.cancel(BATCH)


def test_a_device_is_chosen_for_trainings_only(local):
    for order in (Order(7), Order(device="gpu", training=True)):
        local.check(order)
    with pytest.raises(BadOption, match="MODEL_DEVICE"):
        local.check(Order(device="gpu"))
