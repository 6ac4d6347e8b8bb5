"""Rates of this package beside those of the field's own ways: ``bench speed``.

``harness`` times and judges, ``table`` shows; every other module is a stage. Listing the stages
imports none of them.
"""

from collections.abc import Mapping
from types import MappingProxyType

STAGES: Mapping[str, str] = MappingProxyType(
    {
        "metrics": "maps to scores: masks, consensus IoU, intervals, floors, memory",
        "data": "files to batches: images, sounds, spectrograms, items, videos",
        "ranks": "scores of two processes beside one, and the rate of several devices",
        "shards": "files to shards, and clips out of shards, at 240 and at 2,000,000 clips",
        "training": "clips through a training step, from frames and from kept features",
        "step": "one training step of each method, its front-ends and its backbones",
        "memory": "the maps of a global batch of 1,024, whole and in chunks",
        "stall": "a step and the loader of two processes that feeds it",
        "mining": "training lists to the neighbours of each clip, at 10,000 and 144,000 clips",
        "proposals": "pictures to object boxes, by one thread and by two",
        "selection": "proposals that a location map selects, 128 frames x 600 boxes",
    }
)
"""Module of each stage in this package, and one line on it."""
