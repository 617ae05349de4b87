"""The writer of OCI layouts: the same folders give the same image, and another program reads it as what it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "image"))

import layout  # type: ignore[import-not-found]  # noqa: E402

LAST = """
FROM scratch AS first
RUN something
FROM scratch
ARG VERSION=none
LABEL org.opencontainers.image.version="${VERSION}" \\
      a="two words"
COPY --from=first / /
ENV A=1 B="x y"
USER 7:8
WORKDIR /work
EXPOSE 80 81
STOPSIGNAL SIGQUIT
HEALTHCHECK CMD ["/bin/true"]
ENTRYPOINT ["/bin/run", "it"]
CMD ["now"]
"""


def layers(folder: Path, *, when: int) -> list[Path]:
    for name, text in (("base", "one"), ("app", "two")):
        inside = folder / name / "opt" / name
        inside.mkdir(parents=True)
        (inside / "file").write_text(text)
        (inside / "file").chmod(0o755)
        (inside / "link").symlink_to("file")
        os.link(inside / "file", inside / "other")
        os.utime(inside / "file", (when, when))
    return [folder / "base", folder / "app"]


def settings(tmp_path: Path, text: str = LAST) -> layout.Configuration:
    (tmp_path / "Containerfile").write_text(text)
    return layout.configuration(tmp_path / "Containerfile", version="1.2")


def test_the_same_folders_give_the_same_image_whenever_they_were_made(tmp_path: Path) -> None:
    blobs = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        layout.write(folder / "oci", "latest", layers(folder, when=1_000_000 * number), settings(tmp_path))
        blobs.append({each.name for each in (folder / "oci/blobs/sha256").iterdir()})
    assert blobs[0] == blobs[1]
    assert len(blobs[0]) == 4  # two layers, the configuration, the manifest


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci reads the layout here, and is not installed")
def test_another_program_finds_the_files_and_the_containerfiles_settings(tmp_path: Path) -> None:
    layout.write(tmp_path / "oci", "latest", layers(tmp_path, when=5), settings(tmp_path))
    unpack = ["umoci", "unpack", *(["--rootless"] if os.geteuid() else []), "--image", f"{tmp_path / 'oci'}:latest", tmp_path / "bundle"]
    subprocess.run(unpack, check=True, capture_output=True)
    found = json.loads((tmp_path / "bundle/config.json").read_text())
    process = found["process"]
    assert (process["user"]["uid"], process["user"]["gid"], process["cwd"]) == (7, 8, "/work")
    assert process["args"] == ["/bin/run", "it", "now"]
    assert {"A=1", "B=x y"} <= set(process["env"])
    assert found["annotations"]["org.opencontainers.image.version"] == "1.2"
    assert found["annotations"]["org.opencontainers.image.stopSignal"] == "SIGQUIT"
    for name, text in (("base", "one"), ("app", "two")):
        inside = tmp_path / "bundle/rootfs/opt" / name
        assert (inside / "link").readlink() == Path("file")
        assert (inside / "other").read_text() == text
        assert os.access(inside / "file", os.X_OK)


def test_an_instruction_that_would_be_lost_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="RUN in the last stage"):
        settings(tmp_path, LAST + "RUN more\n")
