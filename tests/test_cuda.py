"""What only a GPU can show: a replayed step is the step, bit for bit, and a run there resumes exactly."""

from functools import partial

import pytest
import torch
from torch import nn

from HW3.diffusion import DiffusionConfig, GaussianDiffusion
from HW3.optim import Muon
from HW3.support.cuda_graph import CudaGraphs, GraphedModel, graphed_step
from HW3.Unet import UNet
from tests.conftest import STAGES, train
from tests.test_resume import assert_same_run

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
OPTIMIZERS = {
    "Muon": partial(Muon, lr=1e-3),
    "Adam": partial(torch.optim.Adam, lr=1e-3, fused=True),
    "AdamW": partial(torch.optim.AdamW, lr=1e-3, fused=True),
}


def train_unet(optimizer_of, graphs: bool) -> tuple[list[float], list[torch.Tensor]]:
    """Train a small UNet on batches of two sizes; return the losses and the weights."""
    torch.manual_seed(0)
    model = UNet(base_channels=8, channel_mults=(1, 2), num_res_blocks=(1,)).cuda()
    optimizer = optimizer_of(model.parameters())
    diffusion = GaussianDiffusion(model, DiffusionConfig()).cuda()

    def step(x0):
        with torch.autocast("cuda", torch.bfloat16):
            loss = diffusion.training_loss(x0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    if graphs:
        step = graphed_step(optimizer)(step)
    batches = [torch.randn(size, 1, 16, 16, device="cuda") for size in [8, 8, 3] * 7]
    losses = [step(x0).item() for x0 in batches]
    if graphs:
        assert step.works and len(step.recorded) == 2
    return losses, list(model.parameters())


@needs_gpu
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_replayed_step_is_the_step_bit_for_bit(name):
    eager, replayed = (train_unet(OPTIMIZERS[name], graphs) for graphs in (False, True))
    assert eager[0] == replayed[0]
    assert all(torch.equal(*weights) for weights in zip(eager[1], replayed[1], strict=True))


@needs_gpu
def test_a_replayed_model_predicts_the_same_and_keeps_earlier_predictions():
    torch.manual_seed(0)
    model = UNet(base_channels=8, channel_mults=(1, 2), cond_dim=5).cuda().eval()
    replayed = GraphedModel(model)
    inputs = [
        (torch.randn(4, 1, 16, 16).cuda(), torch.full((4,), t).cuda(), torch.randn(4, 5).cuda())
        for t in range(8)
    ]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), torch.autocast("cuda", torch.bfloat16):
            seen = [replayed(*each) for each in inputs]
            expected = [model(*each) for each in inputs]
        assert all(torch.equal(*pair) for pair in zip(seen, expected, strict=True))
    with torch.no_grad():
        model.head.bias += 1  # as training moves the average
        assert torch.equal(replayed(*inputs[0]), model(*inputs[0]))
    assert replayed.call.recorded


@needs_gpu
def test_what_cannot_be_recorded_runs_without_and_says_so(capsys):
    def draw(x):
        noise = torch.randn_like(x)
        if x.sum().item() > 0:  # waits for the GPU, which can't be recorded
            noise += x
        return noise

    results = []
    for call in (draw, CudaGraphs(draw)):
        torch.manual_seed(0)
        results.append([call(torch.full((3,), float(n), device="cuda")) for n in range(6)])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True)) and not call.works
    assert capsys.readouterr().err.count("CUDA graphs do not work here") == 1


def test_without_a_gpu_every_call_is_the_functions_own():
    layer = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    assert torch.equal(GraphedModel(layer)(x), layer(x))
    graphs = CudaGraphs(lambda x: (x, len(x)))
    assert graphs(x)[1] == 4 and not graphs.calls
    without_inputs = CudaGraphs(lambda: x)
    if not torch.cuda.is_available():
        assert without_inputs() is x and not without_inputs.calls


@needs_gpu
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_on_a_gpu_resumes_exactly_there_and_also_on_a_cpu(stage, trained, tmp_path, capsys):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        for earlier in {"vae", "clip"} - {stage}:
            (tmp_path / name / earlier).symlink_to(trained.folder / earlier)
    run = partial(train, stage)
    enough = ["--device=cuda", "--limit-batches=6"]
    assert run(tmp_path / "whole", *enough, "--epochs=4") == 0
    assert run(tmp_path / "parts", *enough, "--epochs=2") == 0
    assert run(tmp_path / "parts", *enough, "--epochs=4", "--resume") == 0
    assert_same_run(tmp_path / "parts" / stage, tmp_path / "whole" / stage, stage)
    assert "CUDA graphs do not work" not in capsys.readouterr().err
    assert run(tmp_path / "parts", "--limit-batches=6", "--epochs=5", "--resume") == 0
