# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Every way a stage can fail: an exit code of its own and a paragraph that says how to mend it.

A scheduler tells the failures apart by the code; a person reads what failed, what that usually
means, and the command that mends it.
"""

from __future__ import annotations

import textwrap


class EngineryError(Exception):
    """A failure with a known cause.

    Attributes:
        exit_code: what the process returns; unique for each subclass.
        usually: one sentence on what this failure usually means.
        mend: the command or edit that mends it.
    """

    exit_code: int = 1
    usually: str = ""

    def __init__(self, what: str, *, mend: str) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend

    def paragraph(self) -> str:
        """The whole message as shown to a person."""
        lines = [self.what]
        if self.usually:
            lines += ["", textwrap.fill(self.usually, 100)]
        return "\n".join([*lines, "", f"To mend it: {self.mend}"])


class ParamsError(EngineryError):
    """params.yaml is not what the schema, or the files it names, allow."""

    exit_code = 2


class PinError(EngineryError):
    """The machine differs from the pins in params.yaml."""

    exit_code = 3
    usually = (
        "Pins are part of the recipe: another version may make another engine, so the stage"
        " stops instead of building something that nobody asked for."
    )


class SourceModelError(EngineryError):
    """The source model cannot be read, or is not the model that params.yaml describes."""

    exit_code = 4


class SamplesError(EngineryError):
    """A sample file is missing, malformed or holds values that no model should see."""

    exit_code = 5


class ParityError(EngineryError):
    """The exported graph does not compute what the framework computes."""

    exit_code = 6
    usually = (
        "The exporter translated an operator differently, or the model behaves differently in"
        " training mode. No later stage can repair this."
    )


class ProofError(EngineryError):
    """A clean-up pass changed what the graph computes."""

    exit_code = 7


class GraphError(EngineryError):
    """A graph between two stages is not what the next one needs."""

    exit_code = 8


class CalibrationError(EngineryError):
    """Ranges are missing, unusable or made for another graph."""

    exit_code = 9


class UnsupportedError(EngineryError):
    """TensorRT's parser refuses nodes of the graph."""

    exit_code = 10
    usually = "TensorRT has no implementation for these nodes as they stand."


class BuildError(EngineryError):
    """TensorRT accepted the graph but could not build an engine from it."""

    exit_code = 11


class MetricError(EngineryError):
    """The task metric cannot be computed."""

    exit_code = 12


class GateError(EngineryError):
    """The engine was built and measured, and a gate in params.yaml says no."""

    exit_code = 13
    usually = "Nothing is broken: the engine was measured and is not good enough for its gates."


class NoDeviceError(EngineryError):
    """The command needs a GPU that this machine lacks."""

    exit_code = 14


class ArtifactError(EngineryError):
    """An output of an earlier stage is missing, altered or unreadable."""

    exit_code = 15


class StorageError(EngineryError):
    """The disk is full or refuses the write."""

    exit_code = 16
    usually = "Artifacts appear whole or not at all, so nothing half-written was left in place."


class DeviceError(EngineryError):
    """The engine was run on a GPU, and failed or answered wrongly."""

    exit_code = 17


class IntegrityError(EngineryError):
    """A plan, package or lock file is not what was recorded of it."""

    exit_code = 18
    usually = "Somebody or something changed it after it was made. Do not deploy it."


class EquivalentError(EngineryError):
    """Rebuilding gave other bytes, whose meaning is the same within `verify` of params.yaml."""

    exit_code = 19


class DifferentError(EngineryError):
    """Rebuilding gave something else."""

    exit_code = 20
    usually = (
        "The recorded outputs were made by other code, from other inputs or on a machine that"
        " computes differently, or the recipe holds something that changes from run to run."
    )


class BudgetError(EngineryError):
    """No rung of the ladder meets the budget of `precision: auto`."""

    exit_code = 21
    usually = (
        "Nothing is broken: every precision that the ladder allows was measured on the calibration"
        " samples, and none is good enough."
    )


class LimitError(EngineryError):
    """A foreign graph needs more memory or time than `models.<m>.limits` allow."""

    exit_code = 22
    usually = "The model is larger than the limits were set for, or is made to exhaust the machine."


class EnvironmentUnmadeError(EngineryError):
    """The virtual environment of an exporter is not there and cannot be made."""

    exit_code = 23
    usually = (
        "A framework that cannot share the chain's environment gets one of its own on first use,"
        " which needs the package index and some gigabytes of disk."
    )


class PromotionError(EngineryError):
    """A rule of the channel's policy in params.yaml says no."""

    exit_code = 30
    usually = "Nothing was uploaded and nothing changed: what served before still serves."


class SigningError(EngineryError):
    """A package cannot be signed, or its signature does not hold."""

    exit_code = 31


class HistoryError(EngineryError):
    """Git's history, or a record of earlier promotions, cannot be read or contradicts itself."""

    exit_code = 32


class StoreError(EngineryError):
    """A store cannot be reached, or answers with errors, or gives less than it has."""

    exit_code = 35
    usually = (
        "What served before still serves, and what was uploaded is kept: the same command, run"
        " again, goes on from there."
    )


class TakenError(EngineryError):
    """Somebody else wrote this record first."""

    exit_code = 36
    usually = "Somebody else was at work there at the same time, and was first."


class UnfitStoreError(EngineryError):
    """The store cannot create a file only if it is not there, so two promotions could both win."""

    exit_code = 37


class AccessError(EngineryError):
    """The store refuses these credentials, or there are none."""

    exit_code = 38


class ServingError(EngineryError):
    """The plan cannot be served as `serving` of params.yaml says."""

    exit_code = 40


class AnswerError(EngineryError):
    """A server did not load a package, or answered otherwise than `validate` measured."""

    exit_code = 41
