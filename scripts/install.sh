#!/bin/sh
# Make or update a virtual environment with the package, editable, at the versions of constraints.txt.
# Usage: scripts/install.sh VENV EXTRA[,EXTRA...]      from the repository's root
#   PYTHON=...       the interpreter for a new environment (else the newest of 3.11 to 3.14)
#   TORCH=cpu|cuda   the build of PyTorch (else cuda where nvidia-smi works)
set -eu
venv=$1
extras=$2
python=$venv/bin/python

say() { echo "==> $*"; }

# A name on PATH proves nothing (version managers put dead shims there, Debian leaves ensurepip out): run it.
usable() { "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1; }

find_python() {
    for candidate in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "koopstep needs Python 3.11 to 3.14 with its venv module; ${PYTHON:-none on the PATH} does not fit." \
        "Install one (Debian, Ubuntu: apt install python3.11-venv) or name it: make PYTHON=/path/to/python" >&2
    return 1
}

if ! "$python" -m pip --version >/dev/null 2>&1; then
    chosen=$(find_python)
    say "environment $venv with $chosen ($("$chosen" --version))"
    "$chosen" -m venv --clear "$venv"
fi

pip() { "$python" -m pip --disable-pip-version-check "$@"; }

# PyPI's Linux wheel of PyTorch brings the CUDA libraries. The CPU build carries the local version +cpu: on the
# configured indexes if they have it, else on PyTorch's own. A pin `torch==X` admits both X and X+cpu.
torch=$(sed -n 's/^torch==//p' constraints.txt)
if [ -z "${TORCH:-}" ]; then
    if nvidia-smi >/dev/null 2>&1; then TORCH=cuda; else TORCH=cpu; fi
fi
say "PyTorch $torch ($TORCH)"
if [ "$TORCH" = cpu ] && [ "$(uname -s)" = Linux ]; then
    pip install --quiet -c constraints.txt "torch==$torch+cpu" 2>/dev/null ||
        pip install -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu "torch==$torch+cpu"
else
    pip install -c constraints.txt "torch==$torch"
fi

# Built without isolation, so that the build backend is a pinned one too.
say "koopstep[$extras]"
pip install --quiet -c constraints.txt setuptools
pip install --quiet -c constraints.txt --no-build-isolation --editable ".[$extras]"
