# make demo    trains all five stages on digits drawn by code, in a few minutes: nothing is downloaded but packages
# make test    runs the tests
# make handout writes handout/, the repository with the two exercises open
# make lint    checks style
# Each does all its set-up, in .venv/.

# The newest Python that is supported; a name may be there and not work, as pyenv's are.
PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do \
	$$name -c 'import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& echo $$name && break; done)
PY := .venv/bin/python
DEMO := --dataset synthetic
SMALL := --num_res_blocks 1 --batch_size 64

.PHONY: demo test handout lint
.DELETE_ON_ERROR:

.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 to 3.14 found; name one: make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

demo: .venv/installed
	@echo "Training all five stages on synthetic digits, small: about 7 minutes on 2 cores with bf16, longer without."
	$(PY) train_vae.py $(DEMO) --out_dir result/demo/vae --epochs 5 --lr 1e-3 --kl-weight 0.5
	$(PY) train_diffusion.py $(DEMO) --out_dir result/demo/diffusion --epochs 3 --lr 2e-4 $(SMALL) --sample_every 3
	$(PY) train_latent_diffusion.py $(DEMO) --out_dir result/demo/latent_diffusion --epochs 12 --lr 3e-4 \
		--vae_ckpt result/demo/vae/convae_latest.pt --sample_every 6
	$(PY) train_clip.py $(DEMO) --out_dir result/demo/clip --epochs 3
	$(PY) train_tiny_sd.py $(DEMO) --out_dir result/demo/tiny_sd --epochs 4 $(SMALL) \
		--clip_ckpt result/demo/clip/clip_latest.pt
	@echo "Open result/demo/index.html in a browser: the pictures epoch by epoch, and the curves."

test: .venv/installed-tests
	$(PY) -m pytest -n auto -m "not slow"

handout: .venv/installed-tests
	$(PY) -m tests.grading.make_handout

lint: .venv/installed-tests
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
