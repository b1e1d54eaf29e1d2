"""The models of the homework "Exploring Diffusion Models: From Latent Space to Multimodal Synthesis".

Read it in this order, beside the script that trains each part:

1. `data`: images -> batches in [0, 1]; from `mnist_files` (on disk) or `synthetic` (digits drawn by code)
2. `vae`: `ConvVAE` and its loss (train_vae.py)
3. `diffusion`: the schedule, q and p, DDPM and DDIM; `Unet`: the noise predictor for images; `optim`: how it
   is trained (train_diffusion.py)
4. `mlp`: the noise predictor for latent vectors (train_latent_diffusion.py)
5. `clip`: `TinyCLIP`, images and labels in one space (train_clip.py)
6. `Unet` again, now with a condition, and `guidance`: tiny Stable Diffusion (train_tiny_sd.py)

What uses trained models, as `python -m HW3.NAME`: `sample` (draw), `explain` (pictures that explain),
`gallery` (the page of all runs) and `evaluate` (figures); with `drawing` (a model from its checkpoint),
`pictures` (boards with labels) and `expected` (the figures of README.md's runs).

What surrounds the training loops and is no machine learning: `cli` (flags), `runtime` (device, seeds, grids,
progress), `stages` (the table of the five), `run_folder` (where a run writes), `files` (hidden ones, held
ones, written whole), `checkpoint` (saving, loading, resuming), `exits` (exit codes, signals) and `ema`
(averaged weights).
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  before anything is imported that an older Python can't read
    sys.stderr.write("error: Python 3.10 or newer is needed, this is {}.{}\n".format(*sys.version_info))
    sys.exit(2)
