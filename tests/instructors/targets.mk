# make handout writes handout/, the student version: the exercises are open, tests/instructors/ is left out;
#              make handout OPEN="ddim_step guidance" opens others than the assignment's
# make autograder writes autograder.zip, for Gradescope, and autograder/, the same as a folder: python
#              autograder/grade.py SUBMISSION RESULTS; OPEN as for the handout

.PHONY: handout autograder

handout: .venv/installed-tests
	$(PY) -m tests.instructors.make_handout $(if $(OPEN),--open $(OPEN))

autograder: .venv/installed-tests
	$(PY) -m tests.instructors.autograder.build $(OPEN)
