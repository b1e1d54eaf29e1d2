#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image.
set -euo pipefail
apt-get update
apt-get install -y python3 python3-venv
python3 -m venv /autograder/venv
# The CPU build of torch takes a third of the memory: put here the address in the "CPU" command on pytorch.org.
# export PIP_EXTRA_INDEX_URL=...
/autograder/venv/bin/pip install --no-cache-dir -r /autograder/source/requirements.txt
