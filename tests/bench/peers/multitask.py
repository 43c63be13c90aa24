#!/usr/bin/env python3
"""concord, TorchJD and a per-task loop on the same training steps, in one run, side by side.

    pip install torch torchvision numpy safetensors "torchjd[cagrad,quadprog_projector]"   (TorchJD 0.18)
    python3 tests/bench/peers/multitask.py                    (all; about ten minutes)
    python3 tests/bench/peers/multitask.py mlp solvers --rounds 1

The twins of `concord bench multitask`: the same networks, batches and optimisers, as many threads. The
sides take turns, `--rounds` times; each side's lowest median over the rounds counts. "ratio" is the
peer's time over concord's.

  TorchJD  mtl_backward with parallel_chunk_size 1 (one backward pass per task) and None (vmap), then
           jac_to_grad, with the Jacobians joined or not (optimize_gramian_computation); and the autogram
           engine, which forms the Gram matrix layer by layer and then goes back once with the weights.
           Contiguous and channels_last for the convolutional networks. The fastest setting counts.
  loop     as LibMTL and the papers' repositories do it: a backward pass per task, each gradient copied
           into a flat vector, the vectors into a matrix; PCGrad on the vectors themselves, the other
           methods on their Gram matrix (with TorchJD's solvers); the direction copied back.

Before anything is timed, `--check` (on by default) takes five steps of every method on both sides from
the same weights on the same batch, in f64: the losses must agree, or the times mean nothing.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from unittest import mock

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn
from torchjd import aggregation
from torchjd.autogram import Engine
from torchjd.autojac import jac_to_grad, mtl_backward

from compare import LAYOUTS, ROOT, LeNet, ResNet18, adam, duration, sgd

AGGREGATORS = {"pcgrad": aggregation.PCGrad, "mgda": aggregation.MGDA,
               "cagrad": lambda: aggregation.CAGrad(c=0.5), "upgrad": aggregation.UPGrad}
FEWEST, SECONDS = 3, 1.0


class Mlp(nn.Module):
    """nn/mlp.h with a head per task."""

    def __init__(self, tasks):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(784, 1000), nn.Linear(1000, 780)])
        self.heads = nn.ModuleList([nn.Linear(780, 10) for _ in range(tasks)])

    def features(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


# Network, image, optimiser, (tasks, batch), and how much faster than TorchJD and the loop concord is meant
# to be at how many tasks.
CASES = {"lenet": (LeNet, (1, 36, 36), adam, [(2, 256), (10, 256), (40, 256)], {}),
         "mlp": (Mlp, (784,), sgd, [(2, 64), (10, 64), (40, 64)], {10: (3, 5), 40: (2.5, 20)}),
         "resnet18": (ResNet18, (3, 32, 32), sgd, [(2, 32), (10, 16)], {2: (1, None), 10: (1.6, None)})}


class Trainee:
    """A network in training on one batch of noise."""

    def __init__(self, net, x, labels, optimizer):
        self.net, self.x, self.labels = net, x, labels
        self.heads = [list(h.parameters()) for h in net.heads]
        self.shared = [p for n, p in net.named_parameters() if not n.startswith("heads")]
        self.optimizer = optimizer(net.parameters())
        self.engine = None

    def losses(self):
        f = self.net.features(self.x)
        return f, [F.cross_entropy(h(f), y) for h, y in zip(self.net.heads, self.labels)]

    def equal(self):
        self.optimizer.zero_grad()
        sum(self.losses()[1]).backward()
        self.optimizer.step()

    def autojac(self, aggregator, chunk, by_gram):
        self.optimizer.zero_grad()
        features, losses = self.losses()
        mtl_backward(losses, features=features, parallel_chunk_size=chunk)
        jac_to_grad(self.shared, aggregator, optimize_gramian_computation=by_gram)
        self.optimizer.step()

    def autogram(self, weighting):
        """The heads get their gradients times the weights here: as much work."""
        if not self.engine:
            trunk = [m for n, m in self.net.named_children() if n != "heads"]
            self.engine = Engine(*trunk, batch_dim=None)
        self.optimizer.zero_grad()
        losses = torch.stack(self.losses()[1])
        losses.backward(weighting(self.engine.compute_gramian(losses)))
        self.optimizer.step()

    def loop(self, method):
        losses = self.losses()[1]
        size = sum(p.numel() for p in self.shared)
        J = torch.zeros(len(losses), size)
        for t, loss in enumerate(losses):
            self.optimizer.zero_grad()
            loss.backward(retain_graph=t + 1 < len(losses))
            row, first = torch.zeros(size), 0
            for p in self.shared:
                row[first:first + p.numel()] = p.grad.flatten()
                first += p.numel()
            J[t] = row
            for p in self.heads[t]:
                p.own = p.grad
        if method == "pcgrad":
            d = torch.zeros(size)
            for i in range(len(J)):
                row = J[i].clone()
                for j in torch.randperm(len(J)).tolist():
                    dot = torch.dot(row, J[j])
                    if j != i and dot < 0:
                        row -= dot / torch.dot(J[j], J[j]) * J[j]
                d += row
        else:
            d = AGGREGATORS[method]().gramian_weighting(J @ J.T) @ J
        first = 0
        for p in self.shared:
            p.grad = d[first:first + p.numel()].view_as(p).clone()
            first += p.numel()
        for head in self.heads:
            for p in head:
                p.grad = p.own
        self.optimizer.step()


def settings(name, tasks, batch, method):
    """{peer: {setting: step}}"""
    make, image, optimizer, _, _ = CASES[name]
    labels = [torch.randint(10, (batch,)) for _ in range(tasks)]
    jd, loop = {}, {}
    for layout, memory in LAYOUTS.items():
        if len(image) == 1 and memory != torch.contiguous_format:
            continue

        def trainee():
            x = torch.rand(batch, *image) * 2 - 1
            net = make(tasks)
            if len(image) == 3:
                x, net = x.contiguous(memory_format=memory), net.to(memory_format=memory)
            return Trainee(net, x, labels, lambda parameters: optimizer(parameters, 1e-5))

        where = f", {layout}" if len(image) == 3 else ""
        shared = trainee()
        aggregator = AGGREGATORS[method]()
        for chunk in 1, None:
            for by_gram in False, True:
                jd[f"chunk {chunk}{', by Gram' if by_gram else ''}{where}"] = (
                    lambda t=shared, c=chunk, g=by_gram: t.autojac(aggregator, c, g))
        jd[f"autogram{where}"] = lambda t=trainee(): t.autogram(aggregator.gramian_weighting)
        loop[f"loop{where}"] = lambda t=shared: t.loop(method)
    return {"TorchJD": jd, "loop": loop}


# --- Timing
def once(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def time_settings(candidates, kept):
    """Median of each setting. Settings that are slow in their second call (the first warms up) are left
    out; `kept` remembers the others, for all methods and rounds: a method's own part is small."""
    if not kept:
        trial = {}
        for setting, f in candidates.items():
            try:
                f()
                trial[setting] = once(f)
            except Exception as e:  # a setting that the library refuses for this network
                print(f"    {setting}: {type(e).__name__}: {str(e).splitlines()[0][:90]}", file=sys.stderr)
        kept += [s for s, t in trial.items() if t <= 1.4 * min(trial.values())]
    samples, begin = {s: [] for s in kept}, time.perf_counter()
    while len(samples[kept[0]]) < FEWEST or time.perf_counter() - begin < SECONDS * len(kept):
        for s in kept:
            samples[s].append(once(candidates[s]))
    return {s: statistics.median(times) for s, times in samples.items()}


def concord_times(args, name):
    out = subprocess.run([args.concord, "bench", f"multitask/{name}", "--json", "--threads", str(args.threads)],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    answer = json.loads(out)
    return {r["name"]: r["median_s"] for r in answer["results"][f"multitask/{name}"]}, answer["machine"]


def met(good):
    return "met" if good else "NOT MET"


def compare_steps(args, name):
    _, _, _, sizes, targets = CASES[name]
    ours, theirs, kept = {}, {}, {}
    for _ in range(args.rounds):
        for row, t in concord_times(args, name)[0].items():
            ours[row] = min(t, ours.get(row, t))
        for tasks, batch in sizes:
            for method in args.methods:
                row = f"T = {tasks}, batch {batch}: {method}"
                for peer, candidates in settings(name, tasks, batch, method).items():
                    times = time_settings(candidates, kept.setdefault((tasks, peer), []))
                    best = theirs.setdefault(row, {}).setdefault(peer, {})
                    for s, t in times.items():
                        best[s] = min(t, best.get(s, t))
    result = {}
    print(f"\n{name:29}{'concord':>9}{'TorchJD':>9}{'ratio':>7}{'loop':>9}{'ratio':>7}  TorchJD's best setting")
    for tasks, batch in sizes:
        for method in args.methods:
            row = f"T = {tasks}, batch {batch}: {method}"
            mine = ours[row]
            setting = min(theirs[row]["TorchJD"], key=theirs[row]["TorchJD"].get)
            jd, loop = theirs[row]["TorchJD"][setting], min(theirs[row]["loop"].values())
            verdict = ""
            if tasks in targets:
                verdict = "; ".join(f"{peer} {target:g}: {met(t / mine >= target)}" for peer, target, t in
                                    zip(("TorchJD", "loop"), targets[tasks], (jd, loop)) if target)
            print(f"{row:29}{duration(mine):>9}{duration(jd):>9}{jd / mine:>7.2f}{duration(loop):>9}"
                  f"{loop / mine:>7.2f}  {setting:24}  {verdict}".rstrip(), flush=True)
            result[row] = {"concord_s": mine, **theirs[row]}
    return result


SOLVERS = {**AGGREGATORS, "dualproj": aggregation.DualProj, "imtl_g": aggregation.IMTLG,
           "aligned_mtl": aggregation.AlignedMTL, "config": aggregation.ConFIG,
           "fairgrad": lambda: aggregation.FairGrad(alpha=1.0), "gradvac": aggregation.GradVac}


def compare_solvers(args):
    ours, theirs, result = {}, {}, {}
    generator = torch.Generator().manual_seed(1)
    sizes = [(2, 4), (3, 5), (10, 16), (40, 63), (128, 200)]
    matrices = {n: [torch.randn(*n, generator=generator, dtype=torch.float64) for _ in range(4)] for n in sizes}
    for _ in range(args.rounds):
        for row, t in concord_times(args, "solvers")[0].items():
            ours[row] = min(t, ours.get(row, t))
        for method, make in SOLVERS.items():
            for (tasks, columns), js in matrices.items():
                solve = make()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    solve(js[0])
                    t = statistics.median(once(lambda j=j: solve(j)) for j in js)
                row = f"{method} {tasks} x {columns}"
                theirs[row] = min(t, theirs.get(row, t))
    print(f"\n{'solvers':15}" + "".join(f"{f'T = {tasks}':>26}" for tasks, _ in sizes) +
          "\n" + " " * 15 + f"{'concord':>9}{'TorchJD':>9}{'ratio':>8}" * len(sizes))
    for method in SOLVERS:
        line = f"{method:15}"
        for tasks, columns in sizes:
            row = f"{method} {tasks} x {columns}"
            line += f"{duration(ours[row]):>9}{duration(theirs[row]):>9}{theirs[row] / ours[row]:>8.0f}"
            result[row] = {"concord_s": ours[row], "TorchJD": theirs[row]}
        print(line)
    slowest = max((r for r in ours if " 10 x " in r), key=ours.get)
    upgrad = ours["upgrad 128 x 200"]
    print(f"every method at T = 10 under 50 us: {met(ours[slowest] < 50e-6)} (slowest {slowest}, "
          f"{duration(ours[slowest])}); UPGrad, 128 x 200, under 10 ms: {met(upgrad < 10e-3)} ({duration(upgrad)})")
    return result


# --- The check
# TorchJD's solvers end early: CAGrad by CLARABEL's tolerance and norm_eps, MGDA's Frank-Wolfe after so many
# steps. What is left over is theirs.
TOLERANCE = {"pcgrad": 1e-12, "mgda": 2e-4, "cagrad": 1e-4, "upgrad": 1e-7}


def check(args):
    """Five steps from the same weights, both sides in f64."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/steps.safetensors"
        subprocess.run([args.truth, "steps", path], check=True, env={**os.environ, "OMP_NUM_THREADS": str(args.threads)})
        with safe_open(path, "pt") as file:
            meta = file.metadata()
            for network in "lenet", "mlp", "resnet18-32":
                start = {k.split("/start/")[1]: file.get_tensor(k) for k in file.keys()
                         if k.startswith(f"{network}/start/")}
                if network == "resnet18-32":
                    start = {k if k.startswith("heads") else "trunk." + k: v for k, v in start.items()}
                x, labels = file.get_tensor(f"{network}/input"), file.get_tensor(f"{network}/labels")
                for method in AGGREGATORS:
                    expected = file.get_tensor(f"{network}/{method}/loss")
                    net = CASES[network.split("-")[0]][0](len(labels)).double()
                    net.load_state_dict(start, strict=network != "resnet18-32")
                    t = Trainee(net, x, list(labels), lambda p: torch.optim.SGD(
                        p, float(meta["rate"]), momentum=float(meta["momentum"])))
                    aggregator = (aggregation.MGDA(epsilon=1e-9, max_iters=3000) if method == "mgda"
                                  else AGGREGATORS[method]())
                    losses = []
                    with mock.patch.object(torch, "randperm", torch.arange):  # PCGrad in the order of index
                        for _ in expected:
                            losses.append(torch.stack(t.losses()[1]).detach())
                            t.autojac(aggregator, None, False)
                    error = ((torch.stack(losses) - expected).abs() / expected).max().item()
                    moved = ((expected[-1] - expected[0]).abs() / expected[0]).max().item()
                    fine = error <= TOLERANCE[method]
                    good = good and fine
                    print(f"{network:12}{method:8} losses of {len(losses)} steps differ by {error:.0e} at most, "
                          f"moved by {moved:.0e}: {'same' if fine else 'NOT THE SAME'}", flush=True)
    return good


def main():
    names = [*CASES, "solvers"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--concord", default=str(ROOT / "build/release/experiments/concord"))
    parser.add_argument("--truth", default=str(ROOT / "build/release/tests/bench/truth"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=list(AGGREGATORS), choices=list(AGGREGATORS))
    parser.add_argument("--check", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    args = parser.parse_args()
    unknown = set(args.names) - set(names)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for program in args.concord, args.truth:
        if not pathlib.Path(program).exists():
            parser.error(f"{program} does not exist: build it, or say where it is")
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    print(f"TorchJD {version('torchjd')}, PyTorch "
          f"{torch.__version__}, {args.threads} threads, Python {platform.python_version()}")
    if args.check and not check(args):
        return 1
    everything = {}
    for name in [n for n in names if not args.names or n in args.names]:
        everything[name] = compare_solvers(args) if name == "solvers" else compare_steps(args, name)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(everything, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
