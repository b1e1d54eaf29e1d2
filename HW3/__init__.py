"""The models of the homework "Exploring Diffusion Models: From Latent Space to Multimodal Synthesis".

Read it in this order, beside the script that trains each part:

1. `data`: from files to batches of images in [0, 1]
2. `vae`: the autoencoder and its loss (train_vae.py)
3. `diffusion`: the schedule, q and p, DDPM and DDIM; `Unet`: the noise predictor for images
   (train_diffusion.py)
4. `mlp`: the noise predictor for latent vectors (train_latent_diffusion.py)
5. `clip`: images and labels in one space (train_clip.py)
6. `Unet` again, now with a condition, and `guidance` (train_tiny_sd.py)

Second reading, how the models are trained: `optim` (Muon, learning rates by layer) and `ema` (averaged
weights).

What uses trained models, as `python -m HW3.NAME`: `sample` (draw), `explain` (pictures that explain),
`evaluate` (metrics of drawn digits) and `gallery` (the page of all runs). Everything else is in `support`,
which has no machine learning in it.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  before anything is imported that an older Python can't read
    sys.stderr.write("error: Python 3.10 or newer is needed, this is {}.{}\n".format(*sys.version_info))
    sys.exit(2)
