"""Run pytest in one folder after the other, each time in a fork of a process that has imported torch once.

Reads lines of JSON, [folder, *arguments of pytest], and answers each with the exit code. pytest's output goes
to output.txt in the folder.
"""

import gc
import json
import os
import sys

import pytest
import torch

torch.set_num_threads(1)
gc.freeze()  # torch's objects need no collecting, which would copy their memory in every fork
for line in sys.stdin:
    folder, *arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        sys.path[0] = folder
        output = os.open("output.txt", os.O_CREAT | os.O_WRONLY)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os._exit(pytest.main(arguments))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
