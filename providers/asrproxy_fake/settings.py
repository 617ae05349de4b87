"""What a configuration file says about a fake: how it behaves, and what it says that it can do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, model_validator

from asrproxy.plugin import AudioFormat, Capabilities, ConfigError, Misplaced, ProviderSettings, Seconds, Section, is_here

ErrorName = Literal[
    "unavailable", "throttled", "refused", "rejected", "garbled", "truncated", "unreachable", "timeout", "not_ready"
]  # fmt: skip
OptionName = Literal["words", "punctuation", "itn", "vocabulary", "prompt", "temperature"]


class Step(Section):
    """One line of a script: what becomes of the next `times` calls. An empty one, `{}`, answers well."""

    times: int | Literal["always"] = Field(1, description="Calls that it holds for; `always`: all that come.")
    error: ErrorName | None = Field(None, description="The call fails with this error.")
    retry_after: Seconds | None = Field(None, description="Beside `error`: when trying again makes sense.")
    vendor_code: int | str | None = Field(None, description="Beside `error`: the vendor's own status.")
    text: str | None = Field(None, description="The call is answered with this, whatever the audio says.")
    truncate: float | None = Field(None, ge=0, lt=1, description="Only this share of the text (and of the words) is answered.")
    latency: Seconds | None = Field(None, description="In place of the provider's `latency` and `jitter`.")
    hang: bool = Field(False, description="The call never ends by itself.")

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        if sum((self.error is not None, self.text is not None, self.hang)) > 1:
            raise ValueError("a step has one outcome: error, text or hang")
        if self.error is None and (self.retry_after is not None or self.vendor_code is not None):
            raise ValueError("retry_after and vendor_code go with an error")
        if self.times != "always" and self.times < 1:
            raise ValueError("times: expected a number of at least 1, or always")
        return self


class Outage(Section):
    """A stretch of time in which every call fails; it begins `after` the provider's start (or the script file's change)."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    after: Seconds = 0.0
    lasts: Seconds | None = Field(None, alias="for", description="None: until the script changes.")
    error: ErrorName = "unavailable"


class Behaviour(ProviderSettings):
    """What calls meet; also the whole of a `script_file`. An outage goes before the script, the script before `failure_rate`."""

    text: str = Field("", description="The answer to audio that has no tones in it, such as real speech.")
    latency: Seconds = Field(0.0, description="From call to answer.")
    jitter: Seconds = Field(0.0, description="At most this much comes on top of `latency`, evenly drawn.")
    failure_rate: float = Field(0.0, ge=0, le=1, description="Share of the calls that fail with `failure`.")
    failure: ErrorName = "unavailable"
    outages: tuple[Outage, ...] = ()
    script: tuple[Step, ...] = Field(
        (), description="What becomes of the calls, one step after the other; afterwards they are answered well."
    )


class ClaimedCapabilities(Section):
    """`capabilities`: what the fake says that it can do, and then holds to."""

    longest: Seconds = Field(60.0, gt=0, description="A longer utterance is rejected.")
    whole: Seconds | None = Field(None, gt=0, description="A recording of at most this is taken whole, in sentences; null: as utterances.")
    sample_rates: tuple[int, ...] = Field((16_000, 8_000), min_length=1, description="Hz, most wanted first; others are rejected.")
    languages: frozenset[str] | None = Field(None, description="BCP 47; null: any. Another one is refused.")
    options: frozenset[OptionName] = Field(
        frozenset({"words", "punctuation"}), description="words and punctuation are real; the others are taken and change nothing."
    )
    streaming: bool = True
    concurrency: int | None = Field(None, ge=1, description="One call more is throttled.")

    def claimed(self) -> Capabilities:
        """As the core reads them."""
        return Capabilities(
            longest=self.longest,
            whole=self.whole,
            formats=tuple(AudioFormat(rate) for rate in self.sample_rates),
            languages=self.languages,
            options=frozenset(self.options),
            streaming=self.streaming,
            concurrency=self.concurrency,
        )


class FakeSettings(Behaviour):
    """`type: fake`."""

    capabilities: ClaimedCapabilities = ClaimedCapabilities()
    script_file: Path | None = Field(
        None,
        description="A YAML file of the keys text, latency, jitter, failure_rate, failure, outages and script. Looked at before each call; "
        "when it has changed, it takes the place of the behaviour above and its script begins anew. Write it beside and rename it.",
    )
    seed: int | None = Field(None, description="Makes jitter and failure_rate the same in every run.")

    @model_validator(mode="after")
    def _a_script_in_the_file(self, info: ValidationInfo) -> Self:
        if is_here(info) and self.script_file is not None:
            from asrproxy_fake.script import WatchedFile

            try:
                WatchedFile(self.script_file).changed()
            except ConfigError as error:
                raise Misplaced(str(error), at=("script_file",)) from None
        return self
