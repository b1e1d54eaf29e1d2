"""CUDA graphs: what a GPU does in a training step or a forward pass, recorded once and then replayed.

A GPU runs an operation of these small networks in a few microseconds; Python takes longer than that to launch
it, and the GPU waits. A graph holds all launches of a call, and is launched as one. On other devices nothing
is recorded, and the functions here change nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from HW3.support.files import note_once

# The first calls are not recorded: libraries choose their kernels in them, and optimizers make their state.
EAGER_CALLS = 3


class CudaGraphs:
    """Call a function of CUDA tensors by replaying what it did, with a graph for each shape of its inputs.

    Args:
        function: of tensors, returns a tensor or a tuple of them. What else it does on the GPU happens at
            every call (weights move, random numbers follow torch's seed); what it does in Python, not when
            it is replayed.
    """

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.calls: Counter = Counter()
        self.recorded: dict = {}
        self.works = True

    def __call__(self, *inputs: Tensor):
        if not all(x.is_cuda for x in inputs) or not torch.cuda.is_available():
            return self.function(*inputs)
        key = torch.is_autocast_enabled("cuda"), *((x.shape, x.dtype) for x in inputs)
        self.calls[key] += 1
        if self.works and self.calls[key] == EAGER_CALLS + 1:
            try:
                self.recorded[key] = self._record(inputs)
            except RuntimeError as error:  # of CUDA, which can't record everything, or has no memory left
                self.works = False
                note_once(f"CUDA graphs do not work here; continuing without ({str(error).splitlines()[0]})")
        if key not in self.recorded:
            return _each(Tensor.detach, self.function(*inputs))
        graph, static_inputs, results = self.recorded[key]
        for static, x in zip(static_inputs, inputs, strict=True):
            static.copy_(x)
        graph.replay()
        return _each(Tensor.clone, results)  # the next call overwrites them

    def _record(self, inputs: tuple[Tensor, ...]):
        with torch.inference_mode(False):  # the tensors of a graph are written to again, in whatever mode
            static_inputs = [x.clone() for x in inputs]
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        state = generator.get_state()
        try:
            with torch.cuda.graph(graph):
                results = self.function(*static_inputs)
        except RuntimeError:
            # The generator would still behave as if recorded: replace its state object, restore its numbers.
            generator.graphsafe_set_state(torch.Generator(generator.device).graphsafe_get_state())
            generator.set_state(state)
            raise
        return graph, static_inputs, _each(Tensor.detach, results)


def _each(change: Callable[[Tensor], Tensor], results: Tensor | tuple[Tensor, ...]):
    """Change a tensor, or each of a tuple.

    Results are detached: a loss that the caller keeps would keep the nodes of its backward pass, and the next
    recording would meet them on a stream that is not recorded.
    """
    return change(results) if isinstance(results, Tensor) else tuple(map(change, results))


def graphed_step(optimizer: torch.optim.Optimizer) -> Callable[[Callable], CudaGraphs]:
    """Return a decorator of a training step: forward pass, backward pass and a step of the optimizer.

    Args:
        optimizer: one that keeps on the GPU all that changes from step to step.
    """

    def decorate(step: Callable) -> CudaGraphs:
        def recordable_step(*batch: Tensor):
            with _recordable(optimizer):
                return step(*batch)

        return CudaGraphs(recordable_step)

    return decorate


@contextmanager
def _recordable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let Adam be recorded; it refuses unless told that it counts its steps on the GPU, as a fused one does.

    It is not told for good: such a checkpoint would not resume on a CPU.
    """
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


class GraphedModel(nn.Module):
    """A model that only predicts, and that a GPU replays.

    Args:
        model: called with tensors; it is frozen, because autocast would keep casts of trained weights apart
            from the graph.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.call = CudaGraphs(model)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return what the model predicts for these inputs."""
        return self.call(*inputs)
