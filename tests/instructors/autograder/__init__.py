"""The autograder: it runs what students handed in and judges what came out.

    python grade.py SUBMISSION RESULTS       in the folder that `make autograder` writes

`hand_in` finds the student's files, `sandbox` and `worker` run them in a process with few rights, `wire` is
how that process is talked to, `judge` compares its answers and never imports it, `results` writes the scores
in three formats. `build` makes the folder and the zip out of a handout. It needs Linux; on other systems,
`python -m pytest tests/grading` runs the same checks in the plain way.
"""
