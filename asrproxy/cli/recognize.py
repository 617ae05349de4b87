"""`asrproxy recognize`: recordings to text, through a sidecar that runs or one of its own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asrproxy.cli.which import (
    ItnOption,
    LanguageOption,
    OwnConfigOption,
    PunctuationOption,
    RouteOption,
    UrlOption,
    VocabularyOption,
    WordsOption,
    configuration_of,
    token,
    url_of,
)

if TYPE_CHECKING:
    from asrproxy.cli.recordings import Share


class Format(StrEnum):
    """How a transcript is written."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


class Partial(StrEnum):
    """What becomes of a long recording of which one segment failed for good."""

    REFUSE = "refuse"
    ALLOW = "allow"


class Encoding(StrEnum):
    """Of headerless audio."""

    PCM_S16LE = "pcm_s16le"
    MULAW = "mulaw"
    ALAW = "alaw"


def command(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="Recordings of any kind; a folder: all in it; -: standard input.")
    ] = None,
    url: UrlOption = None,
    config: OwnConfigOption = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How transcripts are written.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json; of several files, one line each.")] = False,
    output_dir: Annotated[Path | None, typer.Option(help="Write a file for each recording here, in place of standard output.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Write segments as they are recognised.")] = False,
    language: LanguageOption = None,
    route: RouteOption = None,
    words: WordsOption = False,
    punctuation: PunctuationOption = None,
    itn: ItnOption = None,
    vocabulary: VocabularyOption = None,
    partial: Annotated[Partial, typer.Option(help="What becomes of a long recording of which a segment failed.")] = Partial.REFUSE,
    encoding: Annotated[Encoding | None, typer.Option(help="The audio has no header; goes with --sample-rate.")] = None,
    sample_rate: Annotated[int | None, typer.Option(help="Hz of headerless audio.")] = None,
    channels: Annotated[int | None, typer.Option(help="Channels of headerless audio.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="DURATION", help="For each recording: 30s, 5m.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Recordings at once.")] = 4,
    from_list: Annotated[
        Path | None, typer.Option("--list", help="A file that names more of them, one a line; # begins a comment.")
    ] = None,
    share: Annotated[str | None, typer.Option(metavar="K/N", help="Only every N-th of them, from the K-th: 0/8 to 7/8.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out those whose text is in --output-dir already.")] = False,
) -> None:
    """Recognise recordings. Exit status 1 if any of them failed."""
    if as_json:
        format = Format.JSON
    listed = _listed(from_list) if from_list is not None else []
    named = [*(files or []), *listed]
    if not named:
        raise typer.BadParameter("name FILEs, or a --list of them")
    if resume and output_dir is None:
        raise typer.BadParameter("--resume looks into --output-dir: give one")
    if named.count("-") > 1:
        raise typer.BadParameter("standard input can be read once")
    if stream and format in (Format.SRT, Format.VTT):
        raise typer.BadParameter("--stream goes with --format text or json")
    several = len(named) > 1 or Path(named[0]).is_dir()
    if several and format in (Format.SRT, Format.VTT) and output_dir is None:
        raise typer.BadParameter(f"several recordings as {format} need --output-dir")
    seconds = _seconds(timeout)
    given = {
        "language": language,
        "route": route,
        "words": "true" if words else None,
        "punctuation": _flag(punctuation),
        "itn": _flag(itn),
        "vocabulary": vocabulary,
        "partial": None if partial is Partial.REFUSE else partial.value,
        "encoding": None if encoding is None else encoding.value,
        "sample_rate": _number(sample_rate),
        "channels": _number(channels),
        "timeout": None if seconds is None else f"{seconds:f}",
    }
    from asrproxy.cli.work import Work, recognize

    work = Work(
        files=tuple(files or []),
        listed=tuple(listed),
        parameters={name: value for name, value in given.items() if value is not None},
        format=format,
        several=several,
        output_dir=output_dir,
        stream=stream,
        timeout=seconds,
        jobs=jobs,
        share=_share(share),
        resume=resume,
    )
    raise typer.Exit(recognize(work, configuration_of(url, config), url_of(url), token()))


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    from asrproxy.units import duration

    try:
        seconds = duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from None
    if seconds <= 0:
        raise typer.BadParameter("expected a duration above 0", param_hint="--timeout")
    return seconds


def _listed(path: Path) -> list[str]:
    from asrproxy.cli.recordings import listed

    try:
        return listed(path)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path}: {getattr(error, 'strerror', None) or error}", param_hint="--list") from None


def _share(text: str | None) -> Share | None:
    if text is None:
        return None
    from asrproxy.cli.recordings import Share

    try:
        return Share.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--share") from None


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)
