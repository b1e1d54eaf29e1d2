"""Checkpoints: written whole or not at all, checked when read, compared with the flags of a run that resumes.

A checkpoint is one dict of tensors, str, int, float, bool, list and dict, and loads with
`torch.load(path, weights_only=True)` onto any device:

    stage            which script wrote it: "vae", "diffusion", "latent_diffusion", "clip" or "tiny_sd"
    epoch            number of epochs completed
    model_config     arguments that rebuild the model, `Model(**model_config)`
    model_state      its averaged (EMA) weights, which draw and are evaluated
    raw_state, ema_updates, optimizer_state     what a resumed run needs besides
    metrics          the rows of metrics.csv so far
    args             the flags of the run
    precision        "fp32" or "bf16", what it was trained in

and what else its stage needs to draw without another file: the schedule, a frozen VAE, class embeddings.
"""

import io
import pickle
import struct
import zipfile
import zlib
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from HW3.support.process import RunError, UsageError

import torch
from torch import Tensor, nn

from HW3.ema import EMA
from HW3.support.files import PATIENCE, note_once, patiently, recover, write_whole
from HW3.support.run_folder import earlier_runs
from HW3.support.runtime import resolve_precision
from HW3.support.stages import STAGES

# What reading a damaged archive raises, depending on where the damage is.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    OSError,
    EOFError,
    RuntimeError,
)
DAMAGE += (ValueError, TypeError, LookupError, AttributeError, AssertionError)
# What a checkpoint of a stage has to hold, besides its "stage".
CONTENT = {"epoch": int, "model_config": dict, "model_state": dict, "args": dict}

# Flags that may differ when a run resumes: they choose where and how long it runs, and what it draws.
FREE_FLAGS = set(
    "epochs resume device num_workers data_dir out_dir "
    "sample_every ddim_steps ddim_eta guidance_scale save_recon".split()
)
# What `torch.load(..., weights_only=True)` takes, and no subclasses: a NumPy number is one of float.
LEAVES = (Tensor, nn.Parameter, str, int, float, bool, type(None))
CONTAINERS = (dict, OrderedDict, list, tuple)


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint to path, atomically: an interruption leaves the previous one.

    Raises:
        RunError: if a tensor in it is not finite, something in it could not be read again, or it can't be
            written.
    """
    for name, value in _leaves(checkpoint):
        if type(value) not in LEAVES:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise RunError(f"{name} is a {kind}, which a checkpoint can't hold; {path} is not written")
        if not _is_finite(value):
            raise RunError(f"not finite after epoch {checkpoint['epoch']}: {name}; {path} is not written")
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    write_whole(path, buffer.getvalue())


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values in a tree of dicts, lists and tuples, with names such as "model_state.head.weight"."""
    if type(value) not in CONTAINERS:
        yield name, value
        return
    for key, member in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(member, f"{name}.{key}" if name else str(key))


def _is_finite(value: Any) -> bool:
    """Tell whether a tensor has only finite numbers; any other value passes."""
    return bool(value.isfinite().all()) if isinstance(value, Tensor) else True


def training_state(
    model: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer, args: Namespace, metrics: list[dict]
) -> dict[str, Any]:
    """Return the part of a checkpoint that every stage has; `restore_training` is its reverse."""
    return {
        "epoch": metrics[-1]["epoch"],
        "model_state": ema.model.state_dict(),
        "raw_state": model.state_dict(),
        "ema_updates": ema.updates,
        "optimizer_state": optimizer.state_dict(),
        "metrics": metrics,
        "args": plain_flags(args),
        "precision": resolve_precision(args.device, args.precision),
    }


def plain_number(value: Any) -> float | int | bool:
    """Return a number of NumPy, or a tensor of one, as Python's own."""
    return value.item() if hasattr(value, "item") else value


def plain_flags(args: Namespace) -> dict[str, Any]:
    """Return the flags as a checkpoint and JSON can hold them: paths as text."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}


def flag(name: str, value: Any) -> str:
    """Return a flag as one types it, or "no --..." where it is not given."""
    spelled = f"--{name.replace('_', '-')}"
    if value is None or isinstance(value, bool):
        return spelled if value else f"no {spelled}"
    return f"{spelled} {','.join(map(str, value)) if isinstance(value, list) else value}"


def restore_training(
    checkpoint: dict[str, Any], model: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer
) -> list[dict]:
    """Load what `training_state` saved into model, EMA and optimizer; return the metrics so far.

    Raises:
        UsageError: if another version of the code saved it, and it does not fit.
    """
    try:
        load_weights(model, checkpoint["raw_state"])
        load_weights(ema.model, checkpoint["model_state"])
        ema.updates = int(checkpoint["ema_updates"])
        optimizer.load_state_dict(checkpoint["optimizer_state"])
        for weight, state in optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.dim() > 1:
                    # Fused Adam walks weight and moments in the order of memory: they need equal strides
                    state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
        return list(checkpoint["metrics"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError("--resume: another version of the code trained this run; start it again") from error


def rebuild(kind: type, config: dict[str, Any]) -> Any:
    """Return a model, or another object, as its checkpoint describes it.

    Raises:
        UsageError: if it can't be made of that, because another version of the code wrote it.
    """
    try:
        return kind(**config)
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"the checkpoint does not fit {kind.__name__} of this version ({error}); train it again"
        ) from error


def load_weights(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load the weights of a checkpoint into a model.

    Raises:
        UsageError: if they don't fit, because another version of the code wrote them.
    """
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the weights in the checkpoint do not fit {type(model).__name__} of this version; train it again"
        ) from error


def load(path: Path, *stages: str, remedy: str = "") -> dict[str, Any]:
    """Read a checkpoint; its tensors are on the CPU, wherever they were saved.

    Args:
        path: the file, or the folder of a run, for its latest.
        stages: which may have written it.
        remedy: what makes a good one; the commands of the stages when not given.

    Raises:
        UsageError: if the file is missing, damaged or of another stage; the message says what makes one.
    """
    remedy = remedy or "make one with: " + " or ".join(STAGES[stage].command() for stage in stages)
    if path.is_dir():
        latest = [path / STAGES[stage].latest for stage in (*stages, *STAGES) if stage in STAGES]
        for file in latest:
            recover(file)
        path = next((file for file in latest if file.exists()), path)
    if not path.exists():
        raise UsageError(f"{path} does not exist; {remedy}")
    if not path.is_file():
        raise UsageError(f"{path} is not a file; {remedy}")
    try:
        content = io.BytesIO(patiently(PATIENCE, path.read_bytes))
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error
    try:
        # The archive's checksums find what torch.load does not notice: a flipped bit in the weights.
        with zipfile.ZipFile(content) as archive:
            damaged = archive.testzip()
        if damaged:
            raise UsageError(f"{path} is damaged (wrong checksum of {damaged}); {remedy}")
        content.seek(0)
        checkpoint = torch.load(content, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"{path} is not a whole checkpoint ({reason}); {remedy}") from error
    found = checkpoint.get("stage") if isinstance(checkpoint, dict) else None
    if found not in stages:
        kind = f"is a checkpoint of the stage {found}" if found else "is not a checkpoint of this homework"
        raise UsageError(f"{path} {kind}; {remedy}")
    if found in STAGES:
        missing = [name for name, kind in CONTENT.items() if not isinstance(checkpoint.get(name), kind)]
        missing += [name for name in STAGES[found].content if name not in checkpoint]
        if missing:
            raise UsageError(f"{path} is not a whole checkpoint (no {', '.join(missing)}); {remedy}")
    if not all(_is_finite(value) for _, value in _leaves(checkpoint)):
        raise UsageError(f"{path} holds numbers that are not finite; {remedy}")
    return checkpoint


def load_resumed(
    stage: str, args: Namespace, *, free: Set[str] = frozenset(), kept: Set[str] = frozenset()
) -> dict[str, Any] | None:
    """Read the checkpoint from which a run with these flags continues; None without --resume.

    Args:
        stage: name of the run's stage.
        args: the flags of the run.
        free: flags, besides FREE_FLAGS, that may differ.
        kept: flags that name checkpoints of earlier stages. The run keeps what it took from them, and args
            gets the names that it had then.

    Raises:
        UsageError: if there is none, or a flag that would change the run differs from the checkpoint's.
    """
    if not args.resume:
        return None
    path = args.out_dir / STAGES[stage].latest
    recover(path)
    if not path.exists():
        aside = [run for run in earlier_runs(path.parent) if (run / path.name).is_file()]
        remedy = "leave --resume out to start a run"
        if aside:
            latest = max(aside, key=lambda run: (run / path.name).stat().st_mtime)
            remedy += f", or continue the one that was moved aside with --out-dir {latest}"
        raise UsageError(f"--resume: there is no {path} to continue from; {remedy}")
    checkpoint = load(path, stage)
    former = checkpoint["args"]
    changed = [
        f"{flag(name, value)} (was {flag(name, former.get(name))})"
        for name, value in plain_flags(args).items()
        if name not in FREE_FLAGS | free | kept | {"precision"} and value != former.get(name)
    ]
    trained_in, now = checkpoint.get("precision"), resolve_precision(args.device, args.precision)
    if trained_in not in (None, now):  # None: written before it was recorded
        if args.precision == "auto":
            note_once(f"the run was trained in {trained_in}, and continues here in {now}; see --precision")
        else:
            changed.append(f"--precision {now} (was --precision {trained_in})")
    for name in kept:
        if getattr(args, name) and not former.get(name):
            changed.append(f"{flag(name, getattr(args, name))} (was {flag(name, None)})")
        setattr(args, name, Path(former[name]) if former.get(name) else None)
    if changed:
        raise UsageError(f"--resume: {path} was trained with other flags: {', '.join(changed)}")
    return checkpoint
