"""What is taken out of Debian's and the wheels' files, and why it is not missed; what is left must still find every library it asks for."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

DOCUMENTATION = (
    "./usr/share/man",
    "./usr/share/locale",
    "./usr/share/lintian",
    "./usr/share/bug",
    "./usr/share/doc/*/[!c]*",
    "./usr/share/doc/*/changelog*",
)
"""Of Debian's packages; the licences (`copyright`) stay."""

SYSTEM = {
    "usr/lib/*-linux-gnu/gconv": "iconv's tables: Python has its own codecs",
    "usr/lib/*-linux-gnu/audit": "a linker's debugging",
    "usr/lib/*-linux-gnu/libmvec*": "vector mathematics that nothing here links",
    "usr/lib/*-linux-gnu/libthread_db*": "a debugger's",
    "usr/lib/*-linux-gnu/libc_malloc_debug*": "a debugger's",
    "usr/lib/*-linux-gnu/libpcprofile*": "a profiler's",
    "usr/lib/*-linux-gnu/libmemusage*": "a profiler's",
    "usr/lib/*-linux-gnu/libnss_compat*": "NIS",
    "usr/lib/*-linux-gnu/libnss_hesiod*": "Hesiod",
    "usr/lib/*-linux-gnu/libnsl*": "NIS",
    "usr/lib/*-linux-gnu/libexpatw*": "XML in wide characters: Python has it in UTF-8",
    "usr/lib/*-linux-gnu/engines-*": "OpenSSL's, for hardware",
    "usr/lib/locale": "nothing here asks for a locale but C",
    "usr/bin/[!p]*": "glibc's programs, some of them shell scripts",
    "usr/sbin/*": "glibc's and ca-certificates' programs",
    "usr/share/pixmaps": "icons",
    "usr/share/gdb": "a debugger's",
    "usr/share/gcc": "a debugger's",
    "usr/share/applications": "menus",
    "usr/share/binfmts": "a registration",
    "usr/share/lintian": "packaging",
    "etc/ca-certificates*": "for update-ca-certificates, which is not here",
    "etc/ld.so.conf*": "for ldconfig, which is not here",
    "var/cache": "caches",
}
"""Glob patterns and reasons."""

STDLIB = {
    "config-3.11-*": "for embedding Python",
    "distutils": "builds packages",
    "ensurepip": "installs pip",
    "idlelib": "an editor",
    "lib2to3": "translates Python 2",
    "pydoc_data": "pydoc's texts",
    "tkinter": "windows",
    "turtledemo": "windows",
    "turtle.py": "windows",
    "curses": "terminals' libraries are not here",
    "sqlite3": "SQLite is not here",
    "dbm": "the databases are not here",
    "venv": "makes environments",
    "xmlrpc": "another protocol",
    "test": "tests",
    "LICENSE.txt": "a link to Debian's copyright file's neighbour",
    "lib-dynload/_curses*": "their library is not here",
    "lib-dynload/_sqlite3*": "its library is not here",
    "lib-dynload/_dbm*": "its library is not here",
    "lib-dynload/_gdbm*": "its library is not here",
    "lib-dynload/readline*": "its library is not here",
    "lib-dynload/nis*": "its libraries are not here",
    "lib-dynload/ossaudiodev*": "sound cards",
    "lib-dynload/_crypt.*": "passwords of Unix",
    "lib-dynload/_ctypes_test*": "tests",
    "lib-dynload/_test*": "tests",
    "lib-dynload/_xxtestfuzz*": "tests",
    "lib-dynload/xx*": "examples",
}

EVERYWHERE = ("*.pyi", "*.pxd", "*.pyx", "*.pxi", "*.h", "*.hpp", "*.c", "*.cpp", "*.a", "py.typed")
"""In packages: for compilers and type checkers."""

PACKAGE_PARTS = {
    "numpy/_core/_simd.*": "used by numpy's tests",
    "numpy/_core/_*_tests.*": "tests",
    "numpy/_pyinstaller": "another packager's",
    "numpy/distutils": "builds packages",
    "numpy/f2py": "a Fortran compiler's",
    "numpy/typing": "type checkers'",
    "pygments/lexers/[!_]*.py": "languages whose code nobody shows here",
    "pygments/lexers/_*_builtins.py": "words of those languages",
}

KEPT = ("pygments/lexers/python.py", "pygments/lexers/special.py")
"""Of these: rich shows tracebacks with them."""

HOLLOW = {
    "libx265": "encodes pictures",
    "libSvtAv1Enc": "encodes pictures",
    "libx264": "encodes pictures",
    "libwebp": "encodes pictures",
    "libwebpmux": "encodes pictures",
    "libmp3lame": "encodes sound",
    "libswscale": "changes the size of pictures",
    "libgnutls": "speaks TLS: a decoder has no network",
    "libasound": "sound cards",
    "libxcb": "screens",
    "libxcb-shm": "screens",
    "libxcb-shape": "screens",
    "libxcb-xfixes": "screens",
    "libvpl": "pictures in a graphics card",
}
"""Libraries that PyAV's FFmpeg links and a decoder of audio never calls: 42 MB with what only they need. Python binds every function of a
library when it loads it, so in their place stands one with the same names, each of which ends the process: that of a decoder, which
costs one request. libdav1d and libvpx stay: a recording may be the sound of a film, and FFmpeg looks into its picture to tell what it
is."""

ANSWERS = {"x265_api_get": "nothing", "swscale_version": "nothing", "swscale_configuration": "empty", "swscale_license": "empty"}
"""What is called all the same. FFmpeg asks x265 for each depth of colour when it lists its encoders: NULL says that there is none. PyAV
asks every library of FFmpeg for its version and how it was built, in letters."""

TRAP = {"x86_64": "ud2", "aarch64": "udf #0"}
NOTHING = {"x86_64": "xor %eax, %eax\nret", "aarch64": "mov x0, #0\nret"}
EMPTY = {"x86_64": "lea empty(%rip), %rax\nret", "aarch64": "adr x0, empty\nret"}
BEGIN = '.section .note.GNU-stack,"",%progbits\n.text\n.balign 16\nempty: .zero 16\n'


def system(root: Path, *, stdlib: str) -> None:
    """Debian's part."""
    for pattern in SYSTEM:
        _remove(root, pattern)
    for pattern in STDLIB:
        _remove(root / stdlib, pattern)
    for each in root.rglob("__pycache__"):
        shutil.rmtree(each)


def packages(site: Path) -> None:
    """The wheels' part: what is for developers, symbols, and libraries that are not called."""
    for pattern in PACKAGE_PARTS:
        _remove(site, pattern, kept=[site / each for each in KEPT])
    for folder in [each for each in site.rglob("tests") if each.is_dir()]:
        shutil.rmtree(folder, ignore_errors=True)
    for pattern in EVERYWHERE:
        for each in [each for each in site.rglob(pattern) if each.is_file()]:
            each.unlink()
    for each in site.rglob("*.py"):
        if list(each.parent.glob(f"{each.stem}.*.so")):
            each.unlink()  # the source of an extension beside it
    for each in site.rglob("*.so"):
        if not each.parent.name.endswith(".libs"):  # those were cut to fit by auditwheel, and strip breaks some of them
            _strip(each)
    for folder in site.glob("av.libs"):
        for name in HOLLOW:
            _hollow_out(folder, name)
        _remove_unlinked(folder)


def check_links(root: Path, *, site: str) -> None:
    """Raises SystemExit: something asks for a library that the image does not have."""
    libraries = {each.name for each in root.rglob("*.so*")}
    missing = {}
    for each in [*root.rglob("*.so*"), root / "usr/bin/python3.11"]:
        if _is_elf(each):
            absent = [name for name in _needed(each) if name not in libraries]
            if absent:
                missing[str(each.relative_to(root))] = absent
    if missing:
        raise SystemExit("\n".join(f"{name} needs {', '.join(absent)}, which the image does not have" for name, absent in missing.items()))


def sizes(base: Path, app: Path, *, site: str, stdlib: str) -> Counter[str]:
    """Bytes of files by what they belong to."""
    found: Counter[str] = Counter()
    for path in _files(base):
        parts = path.relative_to(base)
        if parts.is_relative_to(site):
            found[re.split(r"[.-]", parts.relative_to(site).parts[0])[0].lstrip("_")] += path.lstat().st_size
        elif parts.is_relative_to(stdlib) or parts.name.startswith("python3"):
            found["Python"] += path.lstat().st_size
        else:
            found["Debian (glibc, OpenSSL, certificates, licences)"] += path.lstat().st_size
    found["asrproxy"] = sum(path.lstat().st_size for path in _files(app))
    return found


def table(base: Path, app: Path, *, site: str, stdlib: str) -> str:
    """Sizes as a person reads them: MB of a million bytes, the largest first, the small ones together."""
    found = sizes(base, app, site=site, stdlib=stdlib)
    rows = [(name, size) for name, size in found.most_common() if size >= 1_000_000]
    rest = [size for size in found.values() if size < 1_000_000]
    rows += [(f"{len(rest)} smaller packages", sum(rest)), ("all", sum(found.values()))]
    return "\n".join(f"{size / 1e6:7.1f} MB  {name}" for name, size in rows)


def _files(root: Path) -> Iterator[Path]:
    return (each for each in root.rglob("*") if each.is_symlink() or each.is_file())


def _remove(folder: Path, pattern: str, *, kept: Sequence[Path] = ()) -> None:
    for each in folder.glob(pattern):
        if each in kept:
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _strip(library: Path) -> None:
    """Takes the symbols that only debuggers read, unless the linker's pages would no longer fit."""
    stripped = library.with_name(library.name + ".stripped")
    shutil.copy2(library, stripped)
    done = subprocess.run(["strip", "--strip-unneeded", str(stripped)], capture_output=True, check=False)
    if done.returncode == 0 and _fits(stripped):
        stripped.replace(library)
    else:
        stripped.unlink()


def _fits(library: Path) -> bool:
    segments = re.findall(r"^\s+LOAD\s+(0x\w+) (0x\w+) .*?(0x\w+)$", _read("-lW", library), re.MULTILINE)
    return bool(segments) and all((int(offset, 16) - int(address, 16)) % int(align, 16) == 0 for offset, address, align in segments)


def _hollow_out(folder: Path, name: str) -> None:
    """Puts a library in its place that has the names, and their versions, which FFmpeg and PyAV ask for, and nothing behind them."""
    [library] = folder.glob(f"{name}-[0-9a-f]*.so*")
    others = [each for each in (*folder.iterdir(), *folder.with_suffix("").rglob("*.so")) if each != library]
    asked = {(each.name, each.version) for other in others for each in _symbols("--undefined-only", other)}
    offered = sorted(each for each in _symbols("--defined-only", library) if (each.name, each.version) in asked)
    versions = sorted({each.version for each in offered if each.version})
    script = "".join(
        f"{version} {{ global: {' '.join(f'{each.name};' for each in offered if each.version == version)} }};\n" for version in versions
    )
    with TemporaryDirectory() as work:
        source, assembled, script_file = Path(work) / "trap.s", Path(work) / "trap.o", Path(work) / "versions"
        source.write_text(BEGIN + "".join(map(_nothing_behind, offered)))
        script_file.write_text(script)
        subprocess.run(["as", "-o", str(assembled), str(source)], check=True)
        versioned = ["--version-script", str(script_file)] if versions else []
        subprocess.run(["ld", "-shared", "-s", *versioned, "-soname", library.name, "-o", str(library), str(assembled)], check=True)


def _nothing_behind(symbol: _Symbol) -> str:
    name, machine = symbol.name, platform.machine()
    if symbol.is_function:
        [answer] = [answer for asked, answer in ANSWERS.items() if name.startswith(asked)] or ["trap"]
        code = {"trap": TRAP, "nothing": NOTHING, "empty": EMPTY}[answer][machine]
        return f".text\n.globl {name}\n.type {name}, %function\n{name}:\n{code}\n"
    return f".data\n.balign 16\n.globl {name}\n.type {name}, %object\n.size {name}, {symbol.size}\n{name}: .zero {symbol.size}\n"


def _remove_unlinked(folder: Path) -> None:
    """Libraries that neither an extension nor another library that stays asks for."""
    linked: set[str] = set()
    waiting = {name for each in folder.with_suffix("").rglob("*.so") for name in _needed(each)}
    while waiting:
        name = waiting.pop()
        if (folder / name).exists() and name not in linked:
            linked.add(name)
            waiting |= set(_needed(folder / name))
    for each in folder.iterdir():
        if each.name not in linked:
            each.unlink()


@dataclass(frozen=True, order=True)
class _Symbol:
    """Of a library. version: where it has versions; empty: none. size: bytes, of data."""

    name: str
    version: str
    is_function: bool
    size: int


def _symbols(option: str, library: Path) -> set[_Symbol]:
    command = ["nm", "-D", option, "--format=posix", "--radix=d", str(library)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = set()
    for line in listed.splitlines():
        name, kind, *rest = line.split()
        name, _, version = name.partition("@")
        found.add(_Symbol(name, version.lstrip("@"), kind in "TtWiI", int(rest[1]) if len(rest) > 1 else 0))
    return found


def _is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _needed(library: Path) -> list[str]:
    return re.findall(r"\(NEEDED\).*\[(.*)\]", _read("-dW", library))


def _read(option: str, library: Path) -> str:
    return subprocess.run(["readelf", option, str(library)], capture_output=True, text=True, check=True).stdout
