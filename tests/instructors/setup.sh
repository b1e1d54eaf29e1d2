#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image. Make the zip to upload with:
#   git archive -o autograder.zip HEAD && zip -j autograder.zip tests/instructors/setup.sh tests/instructors/run_autograder
set -euo pipefail
apt-get update
apt-get install -y python3 python3-venv
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --no-cache-dir \
    -r /autograder/source/requirements.txt -r /autograder/source/tests/requirements.txt
