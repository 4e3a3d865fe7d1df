"""Train the rigger on made-up drawings: ``python -m model_store.rigger.train``.

Resumable: the same command goes on where the run in ``--out`` stopped; SIGTERM ends it
after the step it is at, with a checkpoint and status 143. A run goes through sizes
(``--size 128 --steps 6000``, then ``--size 192 --steps 9000``): the weights follow, the
learning rate stays level and falls over the last third of the steps. On a CPU one thread
a process is fastest, so ``--processes`` share a step: each draws and learns from
``--batch`` views of its own, and their gradients are averaged.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from .arguments import parser
from .losses import losses, scores
from .network import Rigger
from .views import Drawings

WARM_UP = 150
AVERAGE = 0.995  # of the weights that are kept


class Stop:
    """Notes that SIGTERM asked for an end."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def rate_at(step: int, args: argparse.Namespace) -> float:
    """The learning rate: up, level, and down along a cosine."""
    falling = max(1, int(args.steps * args.fall))
    left = (args.steps - step) / falling
    fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, max(0.0, left)))
    return float(args.rate * min(1.0, (step + 1) / WARM_UP) * (0.01 + 0.99 * fall))


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint that is never half there."""
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(path)


def main() -> None:
    """Train until ``--steps``."""
    args = parser().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    stop = Stop()
    if args.processes == 1:
        run(0, args, stop)
    else:
        meeting(args).unlink(missing_ok=True)
        family = mp.spawn(run, (args,), nprocs=args.processes, join=False)
        while not family.join(1.0):
            if stop.asked:
                for process in family.processes:
                    process.terminate()
    if stop.asked:
        sys.exit(128 + signal.SIGTERM)


def meeting(args: argparse.Namespace) -> Path:
    """The file through which the processes find each other."""
    return Path(args.out).resolve() / "meeting"


def run(rank: int, args: argparse.Namespace, stop: Stop | None = None) -> None:
    """One process's part; the first one logs and saves."""
    stop = stop or Stop()
    if args.processes > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(
            "gloo", f"file://{meeting(args)}", timedelta(days=7), args.processes, rank
        )
    torch.set_num_threads(max(1, args.threads))
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    checkpoint = args.out / "last.pt"
    network: nn.Module = Rigger().to(device, memory_format=torch.channels_last)
    kept = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), args.rate, weight_decay=0.02)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        kept.load_state_dict(state["kept"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    loader = DataLoader(
        Drawings(args.size, seed=args.seed * 1_000_003 + start + rank * 500_000),
        args.batch, num_workers=args.workers, pin_memory=device.type == "cuda",
        prefetch_factor=4 if args.workers else None,
    )  # fmt: skip
    log = SummaryWriter(str(args.out)) if rank == 0 else None
    clock, told = time.monotonic(), start
    sums: dict[str, float] = {}
    for step, batch in zip(range(start, args.steps), loader, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, args)
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        heads, parts = learn(network, optimizer, batch, args.bf16)
        last = step + 1 == args.steps or agreed(stop.asked)
        if log is None:
            if last:
                break
            continue
        follow(kept, network, min(AVERAGE, (step + 1) / (step + 10)))
        now = {key: value.item() for key, value in parts.items()} | scores(heads, batch)
        for key, value in now.items():
            sums[key] = value if key not in sums else sums[key] * 0.98 + value * 0.02
        if (step + 1) % 50 == 0 or last:
            for key, value in sums.items():
                log.add_scalar(key, value, step + 1)
            views = (step + 1 - told) * args.batch * args.processes
            speed = views / (time.monotonic() - clock)
            clock, told = time.monotonic(), step + 1
            line = " ".join(f"{key} {value:.3f}" for key, value in sums.items())
            print(f"{step + 1}: {line} · {speed:.1f} views/s", flush=True)
        if (step + 1) % 100 == 0 or last:
            save(checkpoint, {
                "step": step + 1, "network": network.state_dict(), "kept": kept.state_dict(),
                "optimizer": optimizer.state_dict(),
            })  # fmt: skip
        if last:
            break
    if log is not None:
        log.close()
    if args.processes > 1:
        dist.destroy_process_group()


def learn(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], bf16: bool
) -> tuple[Any, dict[str, Tensor]]:
    """One step down the gradient."""
    image = batch["image"].float().contiguous(memory_format=torch.channels_last)
    with torch.autocast(image.device.type, torch.bfloat16, enabled=bf16):
        heads = network(image)
    parts = losses(heads, batch)
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(parts.values())).sum().backward()
    share(network)
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return heads, parts


@torch.no_grad()
def share(network: nn.Module) -> None:
    """Average the gradients of all processes, which keeps their weights the same."""
    if not dist.is_initialized():
        return
    for parameter in network.parameters():
        if parameter.grad is None:  # no view of this batch taught it
            parameter.grad = torch.zeros_like(parameter)
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(mean.view(grad.shape))


def agreed(asked: bool) -> bool:
    """Whether any process was asked to stop: all end after the same step."""
    if not dist.is_initialized():
        return asked
    votes = torch.tensor([float(asked)])
    dist.all_reduce(votes)
    return bool(votes.item() > 0)


@torch.no_grad()
def follow(kept: nn.Module, network: nn.Module, share: float) -> None:
    """Move the kept weights, a running average, towards the network's."""
    for slow, fast in zip(kept.state_dict().values(), network.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - share)
        else:
            slow.copy_(fast)


if __name__ == "__main__":
    main()
