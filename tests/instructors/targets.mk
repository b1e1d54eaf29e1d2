# make handout writes handout/, the student version: the exercises are open, tests/instructors/ is left out;
#              make handout OPEN="ddim_step guidance" opens others than the assignment's

.PHONY: handout

handout: .venv/installed-tests
	$(PY) -m tests.instructors.make_handout $(if $(OPEN),--open $(OPEN))
