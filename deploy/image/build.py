"""Builds the image's file system: Debian's Python, the locked packages and asrproxy; no shell, compiler or package manager.

    python3 deploy/image/build.py slim build/image [--oci FOLDER]

`build/image/base` and `build/image/app` are the image's two layers; the Containerfile copies them, `--oci` writes them as an OCI layout
where no container engine is at hand. Needs a Debian of the release that the image is to be, its Python with venv, apt-get, dpkg-deb,
and binutils, but no privileges. What an earlier run made of the same inputs is kept.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import layout
import trim

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = ("slim", "full")
PYTHON = Path("/usr/bin/python3.11")
"""Debian 12's; its packages are what the image runs."""
SITE = "usr/local/lib/python3.11/dist-packages"
STDLIB = "usr/lib/python3.11"
USER = 65532

PACKAGES = (
    "ca-certificates", "gcc-12-base", "libbz2-1.0", "libc6", "libexpat1", "libffi8", "libgcc-s1", "liblzma5", "libpython3.11-minimal",
    "libpython3.11-stdlib", "libssl3", "libstdc++6", "libuuid1", "netbase", "python3.11-minimal", "zlib1g",
)  # fmt: skip
"""Of Debian, as they are in the builder's package index at the time, signatures checked by apt. base-files gives its licences and name."""

_APT = ("apt-get", "download", "-qq", *(("-o", "APT::Sandbox::User=root") if os.geteuid() == 0 else ()))

BASE_FILES = ("./usr/lib/os-release", "./etc/debian_version", "./usr/share/common-licenses")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variant", choices=VARIANTS, help="slim: without the embedded recogniser")
    parser.add_argument("folder", type=Path, help="where `base` and `app` go")
    parser.add_argument("--oci", type=Path, help="also write an OCI image layout into this folder")
    parser.add_argument("--level", type=int, default=6, help="gzip's, of its layers (default: %(default)s)")
    parser.add_argument("--tag", default="latest", help="of the image in the layout (default: %(default)s)")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with (given.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build(given.variant, given.folder)
        print(trim.table(given.folder / "base", given.folder / "app", site=SITE, stdlib=STDLIB))
        if given.oci is not None:
            write(given.folder, given.oci, given.tag, given.level)
    return 0


def build(variant: str, folder: Path) -> None:
    """Makes what is missing or out of date in `folder`."""
    lock, tools = ROOT / "requirements" / f"image-{variant}.txt", ROOT / "requirements" / "build.txt"
    own = [ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "LICENSE", *_files(ROOT / "asrproxy"), *_files(ROOT / "providers")]
    steps = [Path(__file__).resolve(), Path(trim.__file__).resolve()]
    base = _digest(_contents([lock, tools, *steps]), _index().encode(), platform.machine().encode())
    app = _digest(_contents([*own, tools, *steps]))
    if not (_made(folder / "base", base) and _made(folder / "app", app)):
        builder = _builder(folder / "builder", tools)
    if not _made(folder / "base", base):
        shutil.rmtree(folder / "base", ignore_errors=True)
        _debian(folder / "base", folder / "debs")
        _install(builder, folder / "base" / SITE, "-r", str(lock), "--require-hashes")
        trim.system(folder / "base", stdlib=STDLIB)
        trim.packages(folder / "base" / SITE)
        _compile(folder / "base", STDLIB, SITE, sources=False)
        trim.check_links(folder / "base", site=SITE)
        _try(folder / "base")
        (folder / "base.made").write_text(base)
    if not _made(folder / "app", app):
        shutil.rmtree(folder / "app", ignore_errors=True)
        _install(builder, folder / "app" / SITE, "--no-build-isolation", str(ROOT))
        _command(folder / "app")
        _compile(folder / "app", SITE, sources=True)
        (folder / "app.made").write_text(app)


def write(folder: Path, oci: Path, tag: str, level: int) -> None:
    """The layers in `folder` as an image in the layout `oci`."""
    layers = [folder / "base", folder / "app"]
    digest = _digest(
        *(each.with_suffix(".made").read_bytes() for each in layers), (ROOT / "Containerfile").read_bytes(), tag.encode(), bytes([level])
    )
    if not _made(oci, digest):
        layout.write(oci, tag, layers, layout.configuration(ROOT / "Containerfile", version=version(folder)), level=level)
        oci.with_suffix(".made").write_text(digest)
    packed = sum(each.stat().st_size for each in (oci / "blobs" / "sha256").iterdir())
    print(f"\n{oci}:{tag}, {packed / 1e6:.1f} MB as it is sent")


def version(folder: Path) -> str:
    [facts] = (folder / "app" / SITE).glob("asrproxy-*.dist-info")
    return facts.name.removeprefix("asrproxy-").removesuffix(".dist-info")


def _debian(root: Path, kept: Path) -> None:
    """The packages' files without their documentation, and what an installation would have made of them."""
    for each in ("usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "etc/asrproxy", "run", "proc", "sys", "dev", "var/lib/dpkg/status.d"):
        (root / each).mkdir(parents=True)
    for each in ("bin", "lib", "lib64", "sbin"):
        (root / each).symlink_to(f"usr/{each}")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    try:
        _run([*_APT, *PACKAGES, "base-files"], cwd=kept)
    except SystemExit:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "update", "-qq"])  # the index names versions that are not to be had any more
        _run([*_APT, *PACKAGES, "base-files"], cwd=kept)
    for package in sorted(kept.glob("*.deb")):
        name = package.name.partition("_")[0]
        _unpack(package, root, BASE_FILES if name == "base-files" else ())
        facts = _run(["dpkg-deb", "--field", str(package)], capture=True)
        (root / "var/lib/dpkg/status.d" / name).write_text(facts)  # where scanners of images without dpkg look
    authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(each.read_bytes() for each in authorities))
    shutil.rmtree(root / "usr/share/ca-certificates")
    (root / "usr/lib/ssl").mkdir(exist_ok=True)
    (root / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")
    (root / "usr/bin/python3").symlink_to(PYTHON.name)
    (root / "etc/passwd").write_text(f"root:x:0:0:root:/:/nonexistent\nasrproxy:x:{USER}:{USER}:asrproxy:/tmp:/nonexistent\n")
    (root / "etc/group").write_text(f"root:x:0:\nasrproxy:x:{USER}:\n")
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")


def _unpack(package: Path, root: Path, only: Sequence[str]) -> None:
    """With tar itself: dpkg-deb's own extraction puts a folder in the place of `lib`, which is a link here."""
    command = ["tar", "-x", "-C", str(root), "--keep-directory-symlink", "--no-same-owner", "--wildcards"]
    left_out = [f"--exclude={pattern}" for pattern in trim.DOCUMENTATION]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as reading:
        done = subprocess.run([*command, *left_out, *only], stdin=reading.stdout, check=False)
    if done.returncode or reading.returncode:
        raise SystemExit(f"{package.name} could not be unpacked")


def _builder(folder: Path, tools: Path) -> Path:
    """A Python of the image's own version that has what builds packages from source, hashes checked."""
    python = folder / "bin" / "python"
    if not _made(folder, digest := _digest(tools.read_bytes())):
        shutil.rmtree(folder, ignore_errors=True)
        _run([str(PYTHON), "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", str(tools)])
        folder.with_suffix(".made").write_text(digest)
    return python


def _install(builder: Path, site: Path, *what: str) -> None:
    pip = [str(builder), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile", "--no-deps", "--no-build-isolation"]
    _run([*pip, "--target", str(site), *dict.fromkeys(what)])
    shutil.rmtree(site / "bin", ignore_errors=True)
    for each in (*site.glob("*.dist-info/RECORD"), *site.glob("*.dist-info/direct_url.json")):
        each.unlink()  # after trimming they would not be true, and they name the builder's folders


def _command(root: Path) -> None:
    """`/usr/bin/asrproxy`: the kernel reads its first line, no shell does."""
    command = root / "usr/bin/asrproxy"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!{PYTHON}\nimport sys\n\nfrom asrproxy.cli.main import main\n\nsys.exit(main())\n")
    command.chmod(0o755)


def _compile(root: Path, *below: str, sources: bool) -> None:
    """Bytecode ahead, since nobody can write it later. Where sources stay, tracebacks show lines; elsewhere they would be half the size."""
    beside = ["--invalidation-mode", "unchecked-hash"] if sources else ["-b"]
    folders = [str(root / each) for each in below]
    _run([str(PYTHON), "-m", "compileall", "-q", "-j0", *beside, "-s", str(root), "-p", "/", *folders])
    if not sources:
        for folder in folders:
            for each in Path(folder).rglob("*.py"):
                if each.with_suffix(".pyc").exists():
                    each.unlink()


def _try(root: Path) -> None:
    """Whether the packages load at all after what was taken from them; the tests say whether they work."""
    imports = "import aiohttp, av, cryptography.hazmat.bindings._rust, google.protobuf, pydantic, redis, uvloop, webrtcvad, yaml"
    _run([str(PYTHON), "-IB", "-c", f"import sys; sys.path[:0] = [{str(root / SITE)!r}]; {imports}"])


def _index() -> str:
    """Which Debian packages there are to be had, with their hashes."""
    command = [*_APT, "--print-uris", *PACKAGES, "base-files"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and os.geteuid() == 0:
        _run(["apt-get", "update", "-qq"])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"apt-get knows not all of {', '.join(PACKAGES)}: run apt-get update\n{done.stderr}")
    return "\n".join(" ".join(line.split()[1:]) for line in done.stdout.splitlines())


def _made(folder: Path, digest: str) -> bool:
    stamp = folder.with_suffix(".made")
    return folder.is_dir() and stamp.is_file() and stamp.read_text() == digest


def _files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file() and "__pycache__" not in each.parts)


def _contents(files: Iterable[Path]) -> bytes:
    return b"".join(str(each.relative_to(ROOT)).encode() + b"\0" + hashlib.sha256(each.read_bytes()).digest() for each in files)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _run(command: Sequence[str], *, cwd: Path | None = None, capture: bool = False) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE if capture else None, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}")
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
