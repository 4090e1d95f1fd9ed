# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The verified timing cache: what a build on a GPU chose, recorded, replayed and compared.

TensorRT times its kernels ("tactics") and takes the fastest, so two builds may differ. Its timing
cache holds a tactic and its time by key. What is decided about one is decided here, on plain maps;
the calls of the API are in `tensorrt/build.py`. The recipe is that of NVIDIA's TensorRT Model
Connect (pull requests 449 and 451): strict replay alone misses some misses, so tactics are compared
by key after the build, and times are not, since they differ from run to run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.lib import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NONE, RECORD, REPLAY = "none", "record", "replay"
INVALID = 2**64 - 1  # TimingCacheValue::kINVALID_TACTIC_HASH of NvInfer.h
_SAMPLES = 2

Entry = tuple[str, int, float]  # key, hash of the tactic, its time in milliseconds


def checked(entries: Iterable[Entry], name: str) -> dict[str, int]:
    """Tactic by key.

    Args:
        entries: as the cache gives them.
        name: of the cache, for messages.

    Raises:
        ArtifactError: there are none, as in a file that TensorRT cannot read (it only warns); or
            a key comes twice, or has no valid tactic or time.
    """
    found = list(entries)
    if not found:
        what = f"{name} holds no tactics: it is damaged, of another TensorRT, or nothing was timed"
        raise errors.ArtifactError(what, mend="look at the builder's messages")
    counts = Counter(key for key, _, _ in found)
    faults = [f"{key} comes {count} times" for key, count in counts.items() if count > 1]
    faults += [f"{key} has no tactic" for key, tactic, _ in found if not 0 <= tactic < INVALID]
    faults += [f"{key} has the time {time}" for key, _, time in found if not time >= 0]  # or NaN
    if faults:
        what = f"{name} is not valid, {len(faults)} faults: {_samples(sorted(faults))}"
        raise errors.ArtifactError(what, mend="look at who wrote it (`git log`)")
    return {key: tactic for key, tactic, _ in found}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a build did to the tactics that it was given: tactic, or both, by key."""

    added: Mapping[str, int]
    removed: Mapping[str, int]
    changed: Mapping[str, tuple[int, int]]

    def counts(self) -> dict[str, int]:
        """How many keys of each kind."""
        return {kind: len(keys) for kind, keys in vars(self).items()}

    def report(self) -> str:
        """For people: all counts, and up to two samples of each kind."""
        shown = {
            "added": [f"{key}: {tactic:#x}" for key, tactic in sorted(self.added.items())],
            "removed": [f"{key}: {tactic:#x}" for key, tactic in sorted(self.removed.items())],
            "changed": [
                f"{key}: {was:#x} -> {now:#x}" for key, (was, now) in sorted(self.changed.items())
            ],
        }
        return "\n".join(
            f"  {kind} {len(rows)}" + (f" ({_samples(rows)})" if rows else "")
            for kind, rows in shown.items()
        )


def compare(before: Mapping[str, int], after: Mapping[str, int]) -> Difference:
    """Tactics by key, as given to a build and as found after it."""
    return Difference(
        added={key: after[key] for key in after.keys() - before.keys()},
        removed={key: before[key] for key in before.keys() - after.keys()},
        changed={
            key: (before[key], after[key])
            for key in before.keys() & after.keys()
            if before[key] != after[key]
        },
    )


def accepted(before: Mapping[str, int], after: Mapping[str, int], name: str) -> dict[str, int]:
    """The comparison's counts, all zero.

    Raises:
        BuildError: a key was added or removed, or has another tactic.
    """
    difference = compare(before, after)
    if any(difference.counts().values()):
        what = f"the build did not keep to the {len(before)} tactics of {name}"
        raise errors.BuildError(
            f"{what}:\n\n{difference.report()}", mend="see whether the graph or the machine changed"
        )
    return difference.counts()


def facts(mode: str, digest: str, keys: int, compared: Mapping[str, int] | None) -> dict[str, Any]:
    """What build.facts.json says of a timing cache (`details.timing_cache`)."""
    return {"mode": mode, "sha256": digest, "keys": keys, "compared": compared}


def _samples(rows: list[str]) -> str:
    more = ", ..." if len(rows) > _SAMPLES else ""
    return ", ".join(rows[:_SAMPLES]) + more
