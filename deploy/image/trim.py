"""What is taken out of Debian's and the wheels' files, and why it is not missed; what is left must still find every library it asks for."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
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
    "usr/lib/locale": "nothing here asks for a locale but C",
    "usr/bin/[!p]*": "glibc's programs, some of them shell scripts",
    "usr/sbin/*": "glibc's and ca-certificates' programs",
    "usr/share/pixmaps": "icons",
    "usr/share/gdb": "a debugger's",
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
    "pygments/lexers/_*_builtins.py": "words of languages that nobody shows here",
}

ENCODERS = ("libx265", "libSvtAv1Enc")
"""Video encoders in PyAV's FFmpeg, which links them: 28 MB that a decoder of audio never calls. Python binds every function of a library
when it loads it, so in their place stands one with the same names, each of which ends the process: that of a decoder, which costs one
request. x264 and libwebp stay (FFmpeg refers to data of theirs), and so do libdav1d and libvpx: a recording may be the sound of a
film, and FFmpeg looks into its picture to tell what it is."""

ABSENT = "x265_api_get"
"""Asked by FFmpeg for each depth of colour when it lists its encoders; NULL says that there is none."""

TRAP = {"x86_64": "ud2", "aarch64": "udf #0"}
NULL = {"x86_64": "xor %eax, %eax\nret", "aarch64": "mov x0, #0\nret"}


def system(root: Path, *, stdlib: str) -> None:
    """Debian's part."""
    for pattern in SYSTEM:
        _remove(root, pattern)
    for pattern in STDLIB:
        _remove(root / stdlib, pattern)
    for each in root.rglob("__pycache__"):
        shutil.rmtree(each)


def packages(site: Path) -> None:
    """The wheels' part: what is for developers, symbols, and encoders."""
    for pattern in PACKAGE_PARTS:
        _remove(site, pattern)
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
        for name in ENCODERS:
            _hollow_out(folder, name)


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


def _remove(folder: Path, pattern: str) -> None:
    for each in folder.glob(pattern):
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
    """Puts a library in its place that has the functions which the others in the folder ask for, and nothing in them."""
    [library] = folder.glob(f"{name}-*.so*")
    offered = _symbols("--defined-only", library)
    asked = set().union(*(_symbols("--undefined-only", each) for each in folder.iterdir() if each != library))
    machine = platform.machine()
    code = "".join(
        f".globl {each}\n.type {each}, @function\n{each}:\n{(NULL if each.startswith(ABSENT) else TRAP)[machine]}\n"
        for each in sorted(offered & asked)
    )
    with TemporaryDirectory() as work:
        source, assembled = Path(work) / "trap.s", Path(work) / "trap.o"
        source.write_text(f'.text\n{code}.section .note.GNU-stack,"",%progbits\n')
        subprocess.run(["as", "-o", str(assembled), str(source)], check=True)
        subprocess.run(["ld", "-shared", "-s", "-soname", library.name, "-o", str(library), str(assembled)], check=True)


def _symbols(option: str, library: Path) -> set[str]:
    listed = subprocess.run(["nm", "-D", option, "--format=just-symbols", str(library)], capture_output=True, text=True, check=True).stdout
    return {line.partition("@")[0] for line in listed.splitlines()}


def _is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _needed(library: Path) -> list[str]:
    return re.findall(r"\(NEEDED\).*\[(.*)\]", _read("-dW", library))


def _read(option: str, library: Path) -> str:
    return subprocess.run(["readelf", option, str(library)], capture_output=True, text=True, check=True).stdout
