#!/bin/sh
# Rewrite constraints.txt: the newest versions that satisfy every extra, resolved in an environment of their own.
# Usage: scripts/lock.sh      from the repository's root; the version of torch stays (edit it by hand).
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
torch=$(sed -n 's/^torch==//p' constraints.txt)
"${PYTHON:-python3.11}" -m venv "$scratch/venv"
pip() { "$scratch/venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet "torch==$torch+cpu" ||
    pip install --quiet --extra-index-url https://download.pytorch.org/whl/cpu "torch==$torch+cpu"
pip install --quiet --upgrade setuptools
pip install --quiet --no-build-isolation --editable ".[dev]"
{
    echo "# Every package of every extra, made by \`make lock\`. No CUDA package belongs here."
    echo "# torch==X admits the CPU build X+cpu too."
    pip freeze --all --exclude-editable | sed -e '/^pip==/d' -e 's/^\(torch==[^+]*\)+.*/\1/'
} >"$scratch/constraints.txt"
if grep -iE '^(nvidia|cuda|triton)' "$scratch/constraints.txt"; then
    echo "a CUDA package came in; constraints.txt is left as it was" >&2
    exit 1
fi
mv "$scratch/constraints.txt" constraints.txt
