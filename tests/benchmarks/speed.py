"""Measure speed as ratios: this repository against the usual implementation and the machine's peak.

    python -m tests.benchmarks.speed                 # a few minutes on 2 cores
    python -m tests.benchmarks.speed --rounds 3      # faster, less certain

The contenders take turns, so that a machine which slows down slows all of them; medians are compared.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import train_tiny_sd
from HW3.clip import TinyCLIP, clip_loss
from HW3.data import get_mnist_dataloaders, to_signed
from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.ema import EMA
from HW3.guidance import GuidedModel
from HW3.mlp import EpsMLP
from HW3.optim import Muon, width_scaled
from HW3.support import flags, runtime, synthetic
from HW3.support.cuda_graph import EAGER_CALLS, GraphedModel, graphed_step
from HW3.Unet import UNet
from HW3.vae import ConvVAE, vae_loss
from tests.benchmarks.epochs import largest_memory
from tests.benchmarks.usual import UsualUNet, usual_loader

BATCH = 128
GRID = 64


def medians(
    contenders: dict[str, Callable[[], None]], rounds: int, synchronize: Callable[[], None]
) -> dict[str, float]:
    """Return the median seconds of each contender; they take turns, after rounds that do not count."""
    warm_up = EAGER_CALLS + 1 if torch.cuda.is_available() else 1
    seconds = {name: [] for name in contenders}
    for round_number in range(rounds + warm_up):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            synchronize()
            if round_number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until the device has done its work."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def muon(model: nn.Module) -> torch.optim.Optimizer:
    return Muon(model.parameters(), 1e-4)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), 1e-4, fused=True)


def adam_usual(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), 1e-4)


def adam_width_scaled(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(width_scaled(model, 1e-4), fused=True)


def training_step(
    model: nn.Module, loss_of: Callable, autocast, optimizer_of: Callable, *, usual: bool = False
) -> Callable[[], None]:
    """Return a function that does one training step: forward, backward, optimizer, EMA.

    Args:
        model: what is trained.
        loss_of: makes of the model a function that returns its loss.
        autocast: precision of the forward pass.
        optimizer_of: makes an optimizer of the model.
        usual: without EMA and CUDA graphs.
    """
    optimizer, loss_now = optimizer_of(model), loss_of(model)

    def step() -> Tensor:
        with autocast:
            loss = loss_now()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    if usual:
        return step
    ema, replayed = EMA(model), graphed_step(optimizer)(step)

    def step_and_average() -> None:
        replayed()
        ema.update(model)

    return step_and_average


def on_threads(number: int, run: Callable[[], None]) -> Callable[[], None]:
    """Return a function that runs with that number of threads."""

    def limited() -> None:
        former = torch.get_num_threads()
        torch.set_num_threads(number)
        run()
        torch.set_num_threads(former)

    return limited


def denoising(x0: torch.Tensor, config: DiffusionConfig) -> Callable:
    """Return the diffusion loss as a function of the model."""
    return lambda model: partial(GaussianDiffusion(model, config).to(x0.device).training_loss, x0)


def processor() -> str:
    """Return which instructions torch found in the processor, as far as they matter here."""
    found = {
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    extensions = [name if there else f"no {name}" for name, there in found.items()]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *extensions])


def flops(run: Callable[[], object]) -> int:
    """Return the floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (default: 9)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    return parser.parse_args(argv)


def main(argv=None) -> None:
    args = parse_args(argv)
    device = runtime.pick_device(args.device)
    synchronize = synchronizer(device)
    fp32, bf16 = (runtime.autocast(device, precision) for precision in ("fp32", "bf16"))
    auto = runtime.autocast(device, "auto")
    torch.manual_seed(0)
    train_loader, _, _ = get_mnist_dataloaders("", BATCH, dataset="synthetic", device=device)
    x, y = next(iter(train_loader))
    x0 = to_signed(x)
    pixels, latents = DiffusionConfig(), DiffusionConfig(image_size=1, channels=100)
    z0 = torch.randn(BATCH, 100, 1, 1, device=device)
    threads = torch.get_num_threads()
    print(f"{device}, torch {torch.__version__}, {threads} threads, medians of {args.rounds} rounds")
    print(f"The processor has {processor()}\n")

    print("The machine")
    a, image = torch.randn(2048, 2048, device=device), torch.randn(BATCH, 64, 32, 32, device=device)
    kernel = torch.randn(64, 64, 3, 3, device=device)
    operations = {"matrix product": 2 * 2048**3, "3x3 convolution": 18 * 64 * 64 * 32 * 32 * BATCH}
    contenders = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        b, i, k = a.to(dtype), image.to(dtype), kernel.to(dtype)
        contenders[f"matrix product {name}"] = lambda b=b: b @ b
        contenders[f"3x3 convolution {name}"] = lambda i=i, k=k: F.conv2d(i, k, padding=1)
    peak = {}
    with torch.inference_mode():
        for name, seconds in medians(contenders, args.rounds, synchronize).items():
            peak[name] = operations[name.rsplit(" ", 1)[0]] / seconds / 1e9
            print(f"  {name:24} {peak[name]:8.0f} GFLOP/s")

    print("\nA training step of 128 images; x: as often as the first in the same time")
    ours, usual = UNet().to(device), UsualUNet().to(device)
    tiny_sd = UNet(cond_dim=128, **flags.unet_config(train_tiny_sd.parse_args([]))).to(device)
    vae, clip, mlp = ConvVAE().to(device), TinyCLIP().to(device), EpsMLP(100).to(device)
    trained = {
        "diffusion, usual, fp32": (usual, denoising(x0, pixels), fp32, adam_usual),
        "diffusion, usual, bf16": (usual, denoising(x0, pixels), bf16, adam_usual),
        "diffusion": (ours, denoising(x0, pixels), auto, muon),
        "tiny SD": (tiny_sd, denoising(x0, pixels), auto, muon),
        "latent diffusion": (mlp, denoising(z0, latents), auto, adam_width_scaled),
        "VAE": (vae, lambda model: partial(vae_step, model, x), auto, adam),
        "CLIP": (clip, lambda model: lambda: clip_loss(model(x), y), auto, adam),
    }
    steps = {name: training_step(*parts, usual="usual" in name) for name, parts in trained.items()}
    seconds = medians(steps, args.rounds, synchronize)
    for name, (model, loss_of, precision, _) in trained.items():
        value = seconds[name]
        with precision:
            kind = "bf16" if torch.is_autocast_enabled(device.type) else "fp32"
        rate = 3 * flops(loss_of(model)) / value / 1e9  # a backward pass does twice the work of a forward one
        operation = "matrix product" if model is mlp else "3x3 convolution"
        print(
            f"  {name:24} {value * 1e3:8.1f} ms {BATCH / value:8.0f} images/s"
            f"  {rate:6.0f} GFLOP/s, {rate / peak[f'{operation} {kind}']:4.0%} of the {operation}'s"
            f"  {seconds['diffusion, usual, fp32'] / value:5.1f}x"
        )

    print("\nA training step of diffusion, with one thing changed")
    step = steps["diffusion"]
    seconds = medians(
        {
            "as it is": step,
            "fp32": training_step(copy.deepcopy(ours), denoising(x0, pixels), fp32, muon),
            "Adam": training_step(copy.deepcopy(ours), denoising(x0, pixels), auto, adam),
            "one thread": on_threads(1, step),
        },
        args.rounds,
        synchronize,
    )
    for name, value in seconds.items():
        print(f"  {name:24} {value * 1e3:8.1f} ms {value / seconds['as it is']:5.2f} of the time")

    print(f"\nA sampling step of {GRID} images (the DDPM grid takes 1000)")
    noise, t = torch.randn(GRID, 1, 32, 32, device=device), torch.full((GRID,), 500, device=device)
    z, cond = torch.randn(GRID, 100, device=device), torch.randn(GRID, 128, device=device)
    contenders = {
        "diffusion, usual, fp32": lambda: forward(fp32, usual, noise, t),
        "diffusion, usual, bf16": lambda: forward(bf16, usual, noise, t),
        "diffusion": partial(forward, auto, GraphedModel(ours), noise, t),
        "latent diffusion": partial(forward, auto, GraphedModel(mlp), z, t),
        "tiny SD, guided": partial(forward, auto, GraphedModel(GuidedModel(tiny_sd, 2.0)), noise, t, cond),
    }
    seconds = medians(contenders, args.rounds, synchronize)
    for name, value in seconds.items():
        line = f"  {name:24} {value * 1e3:8.1f} ms {GRID / value / 50:8.1f} images/s by DDIM in 50 steps"
        if name.startswith("diffusion"):
            line += f" {seconds['diffusion, usual, fp32'] / value:5.1f}x"
        print(line)

    print("\nA batch of 128 images")
    images, labels = synthetic.generate(BATCH * 8, seed=0)
    contenders = {
        "usual, image by image": lambda: list(islice(usual_loader(images, labels, BATCH), 8)),
        "HW3.data": lambda: list(islice(train_loader, 8)),
    }
    seconds = medians(contenders, args.rounds, synchronize)
    for name, value in seconds.items():
        print(f"  {name:24} {value / 8 * 1e3:8.1f} ms {seconds['usual, image by image'] / value:5.1f}x")
    print(f"\nLargest memory: {largest_memory():.2f} GiB")


def vae_step(model, x):
    recon, mu, logvar = model(x)
    with torch.autocast(x.device.type, enabled=False):
        return vae_loss(recon, x, mu, logvar)[0]


def forward(autocast, model, *inputs) -> None:
    with torch.inference_mode(), autocast:
        model(*inputs)


if __name__ == "__main__":
    sys.exit(main())
