# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""Where the tactics of builds on a GPU are recorded, and what a person does with them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.backends import timing
from stages.lib import errors, layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one build does with a timing cache.

    Attributes:
        engine, model: their keys in params.yaml.
        mode: `none`, `record` or `replay`.
    """

    engine: str
    model: str
    mode: str

    @property
    def committed(self) -> Path:
        """The file that is replayed, a source of the model's."""
        return layout.timing(self.model) / f"{self.engine}.cache"

    @property
    def inputs(self) -> list[Path]:
        """The file, if this build reads it."""
        return [self.committed] if self.mode == timing.REPLAY else []

    def file(self) -> str | None:
        """Absolute path of the file to read or to write: the builder works in another folder.

        Raises:
            ArtifactError: it is to be read, and is not there.
        """
        if self.mode == timing.NONE:
            return None
        if self.mode == timing.RECORD:
            return str(layout.recording(self.engine).absolute())
        if not self.committed.is_file():
            msg = f"{self.committed} is not there: no tactics of {self.engine} were recorded"
            raise errors.ArtifactError(msg, mend=self._again())
        return str(self.committed.absolute())

    @contextlib.contextmanager
    def mending(self) -> Iterator[None]:
        """Tell how to record again where a replay fails."""
        try:
            yield
        except (errors.ArtifactError, errors.BuildError) as error:
            if self.mode != timing.REPLAY:
                raise
            mend = f"{error.mend}. If {self.committed} no longer fits: {self._again()}"
            raise type(error)(error.what, mend=mend) from None

    def next_steps(self) -> str:
        """What to do with a recording; empty if none was made."""
        if self.mode != timing.RECORD:
            return ""
        copy = f"cp {layout.recording(self.engine)} {self.committed}"
        return (
            "To build with these tactics from now on:\n"
            f"  {copy} && git add {self.committed}\n"
            f"and set engines.{self.engine}.builder.timing_cache to replay in params.yaml"
        )

    def _again(self) -> str:
        key = f"engines.{self.engine}.builder.timing_cache"
        build = f"`python -m stages.build {self.engine}`"
        return f"set {key} to record in params.yaml, then {build}, and do as it says"


def use(engine: str, model: str, builder: Mapping[str, Any]) -> Use:
    """How `engines.<engine>.builder` wants it; a backend that times nothing has no such setting."""
    return Use(engine=engine, model=model, mode=builder.get("timing_cache", timing.NONE))
