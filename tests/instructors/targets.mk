# make handout writes handout/, the student version: the exercises are open, tests/instructors/ is left out;
#              make handout OPEN="ddim_step guidance" opens others than the assignment's
# make autograder writes autograder.zip, for Gradescope, and autograder/, the same as a folder: python
#              autograder/grade.py SUBMISSION RESULTS; OPEN as for the handout
# make test-grader tests both, by correct, wrong and dishonest submissions

.PHONY: handout autograder test-grader

handout: .venv/installed-tests
	$(PY) -m tests.instructors.make_handout $(if $(OPEN),--open $(OPEN))

autograder: .venv/installed-tests
	$(PY) -m tests.instructors.autograder.build $(OPEN)

test-grader: .venv/installed-tests
	$(PY) -m pytest -n 4 --dist worksteal tests/instructors # attacks that hang mostly wait
