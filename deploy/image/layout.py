"""Writes folders as an OCI image, with the settings of the Containerfile's last stage, where no container engine is at hand.

Image format: OCI Image Layout and Image Specification 1.0. The same folders give the same image, byte for byte.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass
class Configuration:
    """What a Containerfile's last stage says of running the image."""

    settings: dict[str, object] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {**self.settings, "Labels": self.labels, "Env": [f"{name}={value}" for name, value in self.env.items()]}


def configuration(containerfile: Path, **arguments: str) -> Configuration:
    """arguments: of the build, for `${NAME}` (in lower case here). Raises ValueError: an instruction that this cannot put into an image."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", containerfile.read_text(), flags=re.MULTILINE)).splitlines()
    stages = [number for number, line in enumerate(lines) if line.startswith("FROM ")]
    found = Configuration()
    known = {name.upper(): value for name, value in arguments.items()}
    for line in lines[stages[-1] + 1 :]:
        instruction, _, rest = line.strip().partition(" ")
        rest = re.sub(r"\$\{(\w+)\}", lambda match: known[match[1]], rest.strip())
        match instruction:
            case "":
                continue
            case "ARG":
                name, _, default = rest.partition("=")
                known.setdefault(name, shlex.split(default)[0] if default else "")
            case "COPY" | "HEALTHCHECK":  # the layers; OCI images have no health check, Docker's and Podman's own format has
                continue
            case "LABEL":
                found.labels |= _pairs(rest)
            case "ENV":
                found.env |= _pairs(rest)
            case "USER" | "STOPSIGNAL" | "WORKDIR":
                found.settings[{"USER": "User", "STOPSIGNAL": "StopSignal", "WORKDIR": "WorkingDir"}[instruction]] = rest
            case "ENTRYPOINT" | "CMD":
                found.settings[{"ENTRYPOINT": "Entrypoint", "CMD": "Cmd"}[instruction]] = json.loads(rest)
            case "EXPOSE":
                found.settings["ExposedPorts"] = {f"{port}/tcp": {} for port in rest.split()}
            case "VOLUME":
                found.settings["Volumes"] = {path: {} for path in json.loads(rest)}
            case _:
                raise ValueError(f"{containerfile.name}: {instruction} in the last stage")
    return found


def write(folder: Path, tag: str, layers: Sequence[Path], settings: Configuration, *, level: int = 6) -> None:
    """folder: made anew. layers: folders, the lowest first; all that is in them belongs to root in the image. level: gzip's."""
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    made = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    packed = [_layer(blobs, each, int(made.timestamp()), level) for each in layers]
    config = _json(
        blobs,
        CONFIG,
        {
            "created": made.isoformat().replace("+00:00", "Z"),
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": settings.as_json(),
            "rootfs": {"type": "layers", "diff_ids": [plain for _, plain in packed]},
            "history": [{"created_by": f"deploy/image/build.py: {each.name}"} for each in layers],
        },
    )
    manifest = _json(
        blobs,
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [each for each, _ in packed],
            "annotations": settings.labels,
        },
    )
    named = {**manifest, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}))
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))


def _layer(blobs: Path, root: Path, seconds: int, level: int) -> tuple[dict[str, object], str]:
    """The blob's descriptor, and the digest of what it is unpacked."""
    unfinished = blobs / "unfinished"
    plain = hashlib.sha256()

    class Counted:
        """gzip's file, with a look at what goes in."""

        def __init__(self, file: gzip.GzipFile) -> None:
            self._file = file

        def write(self, data: bytes) -> int:
            plain.update(data)
            return self._file.write(data)

    with (
        unfinished.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=level, mtime=0, filename="") as packed,
        tarfile.open(fileobj=Counted(packed), mode="w|", format=tarfile.PAX_FORMAT) as archive,  # type: ignore[call-overload]
    ):
        for path in _sorted(root):
            entry = archive.gettarinfo(path, str(path.relative_to(root)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = seconds
            archive.inodes.clear()  # two names of one file are two files: which came first would depend on the file system
            if entry.isfile():
                with path.open("rb") as file:
                    archive.addfile(entry, file)
            else:
                archive.addfile(entry)
    return _named(unfinished, LAYER), f"sha256:{plain.hexdigest()}"


def _sorted(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        inside = Path(folder)
        yield from sorted(inside / each for each in (*files, *folders))


def _json(blobs: Path, media_type: str, value: object) -> dict[str, object]:
    unfinished = blobs / "unfinished"
    unfinished.write_text(json.dumps(value, sort_keys=True))
    return _named(unfinished, media_type)


def _named(unfinished: Path, media_type: str) -> dict[str, object]:
    """A blob is called by its digest."""
    with unfinished.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = unfinished.stat().st_size
    unfinished.replace(unfinished.with_name(digest))
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _pairs(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (each.partition("=") for each in shlex.split(text))}
