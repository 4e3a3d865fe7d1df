"""The corpus of malformed media: the same again for the same seed, and of every kind."""

from __future__ import annotations

from random import Random

import pytest

from gateway.media.sniff import sniff
from tests.corpus import crafted_others, crafted_pictures
from tests.corpus.cases import case, cases
from tests.corpus.samples import FORMATS, PICTURES, VIDEOS, sample

MAKERS = crafted_pictures.CRAFTED | crafted_others.CRAFTED
LARGEST = 2_000_000  # bytes; thousands are made in a run


def test_a_case_is_made_again_by_its_name():
    for made in cases(3, 20):
        assert case(made.id) == made


def test_other_seeds_make_other_files():
    assert {c.parts for c in cases(1, 48)}.isdisjoint(c.parts for c in cases(2, 48))


def test_formats_come_by_turns_and_reach_every_route():
    made = list(cases(0, len(FORMATS) * 10))
    assert [c.kind for c in made[: len(FORMATS)]] == list(FORMATS)
    routes = {c.route for c in made}
    assert routes >= {"form", "base64", "upload", "classify", "rig", "animate", "phone", "motion"}
    assert max(len(part) for c in made for part in c.parts) < LARGEST


@pytest.mark.parametrize("kind", [*PICTURES, *VIDEOS])
def test_samples_are_what_they_are_called(kind):
    assert sniff(sample(kind)[:4096]) == ("video" if kind in VIDEOS else "image")


@pytest.mark.parametrize(
    ("kind", "maker"),
    [(kind, maker) for kind, makers in MAKERS.items() for maker in dict.fromkeys(makers)],
)
def test_what_is_crafted_is_no_sample(kind, maker):
    made = [maker(Random(seed)) for seed in range(4)]
    assert len(set(made)) > 1
    assert sample(kind) not in made


@pytest.mark.parametrize("maker", crafted_others.MOTIONS)
def test_crafted_motions(maker):
    assert len({maker(Random(seed)) for seed in range(4)}) > 1
