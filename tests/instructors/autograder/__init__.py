"""The autograder: it runs what students handed in and judges what came out.

    python grade.py SUBMISSION RESULTS       in the folder that `make autograder` writes

`unpack` and `hand_in` read the student's files and compare them with what was handed out. `sandbox`,
`keeper`, `worker` and `landlock` run them in processes with few rights, which `wire` talks to. `judge`
compares their answers and never imports the submission; `results` writes the scores in three formats, and
`grade` does all of it in turn. `build` makes the folder and the zip out of a handout; `launch` becomes their
grade.py.

It needs Linux. On other systems `python -m pytest tests/grading` runs the same checks in the plain way.
"""
