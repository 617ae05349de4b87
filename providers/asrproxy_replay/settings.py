"""What a configuration file says about recordings: where they are, whose answers they hold, and whether the vendor is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from asrproxy.plugin import ConfigError, Misplaced, ProviderSettings, Wrapped, is_here


class ReplaySettings(ProviderSettings):
    """`type: replay`: another provider's answers, recorded once and played back without a network."""

    folder: Path = Field(description="Where the recordings are, for instance beside the tests. Recording makes it.")
    mode: Literal["record", "replay", "auto"] = Field(
        "replay",
        description="`record`: the provider is asked and each answer kept; `replay`: answers come from the folder, nobody is asked; "
        "`auto`: the provider is asked for what the folder does not have.",
    )
    provider: Wrapped | None = Field(
        None,
        description="The provider whose answers are recorded: `type` and that type's keys. In mode `replay` it is not needed, nor made.",
    )

    @model_validator(mode="after")
    def _somebody_to_record(self) -> Self:
        if self.mode != "replay" and self.provider is None:
            raise ValueError(f"mode {self.mode} needs the provider whose answers are recorded: provider: {{type: …}}")
        return self

    @model_validator(mode="after")
    def _something_to_play(self, info: ValidationInfo) -> Self:
        if is_here(info) and self.mode == "replay":
            from asrproxy_replay.recordings import Folder

            try:
                Folder(self.folder).recorded()
            except ConfigError as error:
                raise Misplaced(str(error), at=("folder",)) from None
        return self
