# make handout writes handout/, the student version: the exercises are open, tests/instructors/ is left out

.PHONY: handout

handout: .venv/installed-tests
	$(PY) -m tests.instructors.make_handout
