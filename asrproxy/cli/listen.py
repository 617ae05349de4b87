"""`asrproxy listen`: live text from a microphone, or from a recording at the pace of speech."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from asrproxy.cli.recognize import Encoding
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
    from asrproxy.audio.decode import RawFormat

HINT: Final = "listening; Ctrl-C ends it"


def command(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A recording of any kind; -: standard input; left out: the microphone.")
    ] = None,
    url: UrlOption = None,
    config: OwnConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every message of the session as a line of JSON.")] = False,
    interim: Annotated[
        bool, typer.Option(help="What is being said, before it is final: on a terminal a line that is rewritten; with --json.")
    ] = True,
    language: LanguageOption = None,
    route: RouteOption = None,
    words: WordsOption = False,
    punctuation: PunctuationOption = None,
    itn: ItnOption = None,
    vocabulary: VocabularyOption = None,
    encoding: Annotated[Encoding | None, typer.Option(help="The audio has no header; goes with --sample-rate.")] = None,
    sample_rate: Annotated[int | None, typer.Option(min=8000, max=48_000, help="Hz of headerless audio.")] = None,
    channels: Annotated[int, typer.Option(min=1, max=64, help="Channels of headerless audio.")] = 1,
    pace: Annotated[float, typer.Option(min=0.0, help="Times the pace of speech, for a recording; 0: as fast as it is taken.")] = 1.0,
    device: Annotated[str | None, typer.Option(help="The microphone's number, or a part of its name.")] = None,
    list_devices: Annotated[bool, typer.Option("--devices", help="List the microphones and exit.")] = False,
) -> None:
    """Recognise speech as it is spoken, until the recording ends or Ctrl-C. Exit status 1: it failed; what was heard is written too."""
    if (encoding is None) != (sample_rate is None):
        raise typer.BadParameter("--encoding and --sample-rate go together")
    if file is None and encoding is not None:
        raise typer.BadParameter("--encoding is for a recording: name a file, or - for standard input")
    if file is not None and (device is not None or list_devices):
        raise typer.BadParameter("a recording and a microphone: give one of them")
    start = {
        "type": "start",
        "language": language,
        "route": route,
        "words": words or None,
        "punctuation": punctuation,
        "itn": itn,
        "vocabulary": vocabulary,
    }
    from asrproxy.cli.session import Wanted, listen
    from asrproxy.cli.shown import Json, Lines

    wanted = Wanted(
        start={name: value for name, value in start.items() if value is not None},
        file=file,
        raw=_raw(encoding, sample_rate, channels),
        pace=pace,
        device=device,
        show=Json(interim=interim) if as_json else Lines(visible=interim, hint=HINT if file is None else None),
    )
    if list_devices:
        from asrproxy.cli.session import list_microphones

        raise typer.Exit(list_microphones())
    raise typer.Exit(listen(wanted, configuration_of(url, config), url_of(url), token()))


def _raw(encoding: Encoding | None, sample_rate: int | None, channels: int) -> RawFormat | None:
    if encoding is None or sample_rate is None:
        return None
    from asrproxy.audio.decode import RawFormat

    return RawFormat(encoding.value, sample_rate, channels)
