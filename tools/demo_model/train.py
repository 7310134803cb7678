"""Train the demonstration model: ``python -m tools.demo_model.train``.

The rate rises, stays level and falls to zero over the last ``--decay`` steps, so a run may be
resumed from a checkpoint with another end in mind. Several workers of one thread each, whose
gradients are averaged, are about twice as fast here as one worker of several threads.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from tools.demo_model.batches import stream
from tools.demo_model.model import Llama, Shape
from tools.demo_model.optimizer import optimizers
from tools.demo_model.tokenizer import Tokenizer


def rate(step: int, steps: int, decay: int, warm_up: int = 60) -> float:
    """Return the share of the peak learning rate at a step."""
    return min(1.0, (step + 1) / warm_up, max(0.0, (steps - step) / max(1, decay)))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=Path("build/demo_model"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--decay", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=3072, help="tokens in a batch of each worker")
    parser.add_argument("--matrix-rate", type=float, default=0.02)
    parser.add_argument("--other-rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--resume", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--longest", type=int, default=1024, help="tokens in a conversation")
    parser.add_argument("--stage", choices=("copy", "full"), default="full")
    return parser.parse_args()


class Trainer:
    """One run: the model, its optimizers, and where it stands."""

    def __init__(self, arguments: argparse.Namespace, worker: int) -> None:
        torch.manual_seed(arguments.seed)
        torch.set_num_threads(1)
        self.arguments, self.worker = arguments, worker
        self.tokenizer = Tokenizer.load(arguments.build / "vocabulary.json")
        self.model = Llama(Shape(len(self.tokenizer)))
        self.optimizers = optimizers(self.model, arguments.matrix_rate, arguments.other_rate)
        self.step = self.pool = 0
        self.seconds = 0.0
        if arguments.resume:
            self._load(arguments.resume)

    def run(self) -> None:
        """Train to the last step."""
        arguments, started, first_seconds = self.arguments, time.monotonic(), self.seconds
        seed, longest = f"{arguments.seed}/{self.worker}", arguments.longest
        batches = stream(self.tokenizer, seed, longest, arguments.tokens, self.pool, arguments.stage)
        total, seen = 0.0, 0
        while self.step < arguments.steps:
            self.pool, ids, trained = next(batches)
            total += self._learn(ids, trained)
            seen += ids.numel() * arguments.workers
            self.step += 1
            self.seconds = first_seconds + time.monotonic() - started
            if self.worker == 0 and self.step % 20 == 0:
                speed = seen / (time.monotonic() - started)
                print(f"{self.step} loss {total / 20:.4f} {speed:.0f} tok/s", flush=True)
                total = 0.0
            last = self.step == arguments.steps
            if self.worker == 0 and (last or self.step % arguments.every == 0):
                self._save()

    def _learn(self, ids: torch.Tensor, trained: torch.Tensor) -> float:
        share = rate(self.step, self.arguments.steps, self.arguments.decay)
        loss = self.model.loss(ids, trained)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._average_gradients()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def _average_gradients(self) -> None:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(joined)
        joined /= self.arguments.workers
        parts = torch.split(joined, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "pool": self.pool + 1,
            "seconds": self.seconds,
        }
        path = self.arguments.build / "checkpoint.pt"
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def _load(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.pool, self.seconds = state["step"], state["pool"], state["seconds"]


def work(worker: int, arguments: argparse.Namespace, meeting: str) -> None:
    """Run one worker; all workers meet at a file."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=worker, world_size=arguments.workers)
    Trainer(arguments, worker).run()
    dist.destroy_process_group()


def main() -> None:
    """Run the training."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as place:
        given = (arguments, f"{place}/meeting")
        spawn(work, given, nprocs=arguments.workers)  # type: ignore[no-untyped-call]  # torch leaves it untyped


if __name__ == "__main__":
    main()
