# Sourced by ./quickstart and ./test: a virtual environment with exactly what a lock file names.

fail() { printf '\n%s\n' "$*" >&2; exit 1; }

find_python() {
    local name
    for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
        if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            printf '%s\n' "$name"
            return
        fi
    done
    fail "asrproxy needs Python 3.11, 3.12, 3.13 or 3.14, and none was found. On Debian 12: apt-get install python3 python3-venv. Or name one: PYTHON=/path/to/python $0"
}

# environment LOCK: makes .venv (or $ASRPROXY_VENV), installs what LOCK pins, hashes checked, and this package. Does nothing the second time.
environment() {
    local lock=$1 python stamp
    venv=${ASRPROXY_VENV:-$PWD/.venv}
    python=$(find_python)
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        echo "making a virtual environment in $venv"
        "$python" -m venv "$venv" || fail "a virtual environment could not be made. On Debian 12 the module is a package of its own: apt-get install python3-venv"
    fi
    stamp="$venv/.installed-$(basename "$lock")"
    if ! cat "$lock" pyproject.toml | cmp -s - "$stamp"; then
        echo "installing the packages that $lock pins (a minute or two the first time)"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock" \
            || fail "the packages could not be installed. Is a package index reachable? (pip says what it could not get, above)"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . \
            || fail "asrproxy itself could not be installed (pip says why, above)"
        cat "$lock" pyproject.toml >"$stamp"
    fi
}
