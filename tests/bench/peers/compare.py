#!/usr/bin/env python3
"""concord and PyTorch on the same work, in one run, side by side.

    pip install torch torchvision numpy        (PyTorch 2; a CPU build is enough)
    python3 tests/bench/peers/compare.py       (all; a few minutes)
    python3 tests/bench/peers/compare.py lenet gram --threads 2 --rounds 3

Every benchmark of `concord bench` has its twin here, at PyTorch's best setting: contiguous and
channels_last, eager and torch.compile (where there is something to compile), as many threads. The two
sides take turns, `--rounds` times; the minimum over all rounds counts. "ratio" is PyTorch's time over
concord's: 2 means that concord takes half the time.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
import warnings

import torch
import torch._functorch.config
import torch.nn.functional as F
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[3]

# The ratios that concord is meant to reach; for the MLP the time in seconds.
TARGET_RATIOS = {"resnet18/step": 0.8, "lenet/pcgrad": 4.0, "gram/10 x 1570000 Gram": 5.0}
TARGET_SECONDS = {"mlp/forward": 20e-6}


def minimum_time(f, seconds):
    """As time_in_turns of experiments/bench.cpp: samples of at least 100 us, the smallest counts."""
    f()
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            f()
        if time.perf_counter() - start >= 100e-6:
            break
        calls *= 2
    best, samples, begin = float("inf"), 0, time.perf_counter()
    while samples < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        for _ in range(calls):
            f()
        best = min(best, (time.perf_counter() - start) / calls)
        samples += 1
    return best


# --- The twins: {row of concord's table: {setting: (function, seconds)}} ---------------------------------
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def twin_copy(compiled):
    a, b, c = (torch.rand(1 << 24) for _ in range(3))
    return {"memcpy": {"copy_": (lambda: a.copy_(b), 0.3)},
            "triad": {"add(out)": (lambda: torch.add(b, c, alpha=3, out=a), 0.3)},
            "read": {"sum": (lambda: b.sum(), 0.3)}}


def twin_gemm(compiled):
    rows = {}
    for name, m, n, k in [("square", 1024, 1024, 1024), ("lenet conv1", 10, 256 * 32 * 32, 25),
                          ("lenet conv2", 20, 256 * 12 * 12, 250), ("lenet fc1", 256, 50, 720),
                          ("resnet18 layer1", 64, 32 * 32 * 32, 576),
                          ("resnet18 layer2", 128, 32 * 16 * 16, 1152),
                          ("resnet18 layer3", 256, 32 * 8 * 8, 2304),
                          ("resnet18 layer4", 512, 32 * 4 * 4, 4608)]:
        a, b, c = torch.rand(m, k), torch.rand(k, n), torch.empty(m, n)
        rows[name] = {"mm": (lambda a=a, b=b, c=c: torch.mm(a, b, out=c), 0.3)}
    return rows


def twin_conv(compiled):
    rows = {}
    for name, cin, cout, size, kernel, stride, *other in [
            ("lenet conv1", 1, 10, 36, 5, 1, 256, 0), ("lenet conv2", 10, 20, 16, 5, 1, 256, 0),
            ("conv1", 3, 64, 32, 3, 1), ("layer1", 64, 64, 32, 3, 1), ("layer2.0.conv1", 64, 128, 32, 3, 2),
            ("layer2.0.downsample", 64, 128, 32, 1, 2), ("layer2", 128, 128, 16, 3, 1),
            ("layer3.0.conv1", 128, 256, 16, 3, 2), ("layer3.0.downsample", 128, 256, 16, 1, 2),
            ("layer3", 256, 256, 8, 3, 1), ("layer4.0.conv1", 256, 512, 8, 3, 2),
            ("layer4.0.downsample", 256, 512, 8, 1, 2), ("layer4", 512, 512, 4, 3, 1)]:
        batch, p = other or (32, kernel // 2)
        for layout, memory in LAYOUTS.items():
            x = torch.rand(batch, cin, size, size).contiguous(memory_format=memory)
            w = torch.rand(cout, cin, kernel, kernel).contiguous(memory_format=memory)
            y = F.conv2d(x, w, None, stride, p)
            gy = torch.rand_like(y)

            def backward(mask, x=x, w=w, gy=gy, stride=stride, p=p):
                return torch.ops.aten.convolution_backward(
                    gy, x, w, None, [stride] * 2, [p] * 2, [1, 1], False, [0, 0], 1, mask)

            for which, f in {
                    "forward": lambda x=x, w=w, stride=stride, p=p: F.conv2d(x, w, None, stride, p),
                    "grad_input": lambda b=backward: b([True, False, False]),
                    "grad_weight": lambda b=backward: b([False, True, False])}.items():
                rows.setdefault(f"{name} {which}", {})[layout] = (f, 0.2)
    return rows


def twin_gram(compiled):
    """bf16 on PyTorch's side as well: its result is rounded to bf16, concord's is in double."""
    rows = {}
    for tasks in 2, 10, 40:
        J = torch.rand(tasks, 1_570_000) * 2 - 1
        for name, j in {"Gram": J, "Gram of bf16": J.bfloat16()}.items():
            rows[f"{tasks} x 1570000 {name}"] = {"J @ J.T": (lambda j=j: j @ j.T, 0.5)}
    return rows


def twin_mlp(compiled):
    net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)).eval()
    x = torch.rand(4, 16)

    def run(f):
        def forward():
            with torch.inference_mode():
                return f(x)
        return forward, 0.3

    settings = {"eager": run(net)}
    if compiled:
        settings["compile"] = run(torch.compile(net))
    return {"forward": settings}


class LeNet(nn.Module):
    """nn/lenet.h with a head per task."""

    def __init__(self, tasks):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
        self.fc1 = nn.Linear(720, 50)
        self.heads = nn.ModuleList([nn.Linear(50, 10) for _ in range(tasks)])

    def features(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return F.relu(self.fc1(x.flatten(1)))

    def forward(self, x):
        x = self.features(x)
        return tuple(h(x) for h in self.heads)


class ResNet18(nn.Module):
    """torchvision's ResNet-18 with the stem of 32x32 images and a head per task."""

    def __init__(self, tasks):
        super().__init__()
        import torchvision
        self.trunk = torchvision.models.resnet18()
        self.trunk.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.trunk.maxpool = nn.Identity()
        self.trunk.fc = nn.Identity()
        self.heads = nn.ModuleList([nn.Linear(512, 10) for _ in range(tasks)])

    def features(self, x):
        return self.trunk(x)

    def forward(self, x):
        x = self.features(x)
        return tuple(h(x) for h in self.heads)


def sgd(parameters, rate=1e-3):
    return torch.optim.SGD(parameters, rate, momentum=0.9, fused=True)


def adam(parameters, rate=1e-3):
    return torch.optim.Adam(parameters, rate, fused=True)


class Trainee:
    def __init__(self, net, image, batch, tasks, memory, compiled, optimizer):
        self.net = net.to(memory_format=memory)
        self.run = torch.compile(self.net) if compiled else self.net
        self.x = (torch.rand(batch, *image) * 2 - 1).contiguous(memory_format=memory)
        self.labels = [torch.randint(10, (batch,)) for _ in range(tasks)]
        self.heads = [list(h.parameters()) for h in net.heads]
        self.shared = [p for n, p in net.named_parameters() if not n.startswith("heads")]
        self.optimizer = optimizer(net.parameters())

    def losses(self):
        return [F.cross_entropy(y, t) for y, t in zip(self.run(self.x), self.labels)]

    def equal(self):
        """The sum of the losses in one backward pass: all that equal weights need."""
        self.optimizer.zero_grad()
        sum(self.losses()).backward()
        self.optimizer.step()

    def pcgrad(self):
        """A gradient per task, flattened; projections; the result into .grad."""
        losses = self.losses()
        rows = []
        for t, loss in enumerate(losses):
            grads = torch.autograd.grad(loss, self.shared + self.heads[t], retain_graph=t + 1 < len(losses))
            rows.append(torch.cat([g.flatten() for g in grads[:len(self.shared)]]))
            for p, g in zip(self.heads[t], grads[len(self.shared):]):
                p.grad = g
        direction = torch.zeros_like(rows[0])
        for i, row in enumerate(rows):
            p = row.clone()
            for j in torch.randperm(len(rows)).tolist():
                if j == i:
                    continue
                dot = torch.dot(p, rows[j])
                if dot < 0:
                    p -= dot / torch.dot(rows[j], rows[j]) * rows[j]
            direction += p
        first = 0
        for p in self.shared:
            p.grad = direction[first:first + p.numel()].view_as(p)
            first += p.numel()
        self.optimizer.step()


def trainees(make, image, batch, tasks, compiled, optimizer=sgd):
    for layout, memory in LAYOUTS.items():
        yield layout, Trainee(make(tasks), image, batch, tasks, memory, False, optimizer)
        if compiled:
            yield layout + ", compile", Trainee(make(tasks), image, batch, tasks, memory, True, optimizer)


def twin_lenet(compiled):
    rows = {"pcgrad": {}, "equal": {}}
    for setting, t in trainees(LeNet, (1, 36, 36), 256, 2, compiled, adam):
        rows["pcgrad"][setting] = (t.pcgrad, 1)
        rows["equal"][setting] = (t.equal, 1)
    return rows


def twin_resnet18(compiled):
    return {"step": {s: (t.equal, 4) for s, t in trainees(ResNet18, (3, 32, 32), 32, 1, compiled)}}


def twin_rows(compiled):
    """One backward pass per task over one recorded forward pass. (is_grads_batched, PyTorch's own way to
    do all rows at once, is tried as well.)"""
    rows = {}
    for name, make, image, batch, tasks in [("lenet, 2 tasks, batch 256", LeNet, (1, 36, 36), 256, 2),
                                            ("resnet18, 2 tasks, batch 16", ResNet18, (3, 32, 32), 16, 2),
                                            ("resnet18, 3 tasks, batch 16", ResNet18, (3, 32, 32), 16, 3)]:
        row = rows.setdefault(f"{name}, one sweep", {})
        for layout, t in trainees(make, image, batch, tasks, False):
            losses = t.losses()

            def loop(t=t, losses=losses):
                for loss, head in zip(losses, t.heads):
                    torch.autograd.grad(loss, t.shared + head, retain_graph=True)

            def batched(t=t, stacked=torch.stack(losses)):
                torch.autograd.grad(stacked, list(t.net.parameters()), torch.eye(len(stacked)),
                                    retain_graph=True, is_grads_batched=True)

            row[layout + ", loop"] = (loop, 1)
            row[layout + ", batched"] = (batched, 1)
    return rows


TWINS = {"copy": twin_copy, "gemm": twin_gemm, "conv": twin_conv, "gram": twin_gram, "mlp": twin_mlp,
         "lenet": twin_lenet, "resnet18": twin_resnet18, "rows": twin_rows}


# --- The comparison ----------------------------------------------------------------------------------------
def concord_times(program, name, threads):
    out = subprocess.run([program, "bench", name, "--json", "--threads", str(threads)], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    answer = json.loads(out)
    return {r["name"]: r["minimum_s"] for r in answer["results"][name]}, answer["machine"]


def duration(s):
    for unit, scale in (("us", 1e6), ("ms", 1e3), ("s", 1)):
        x = s * scale
        if x < 999.5 or unit == "s":
            return f"{x:.{2 if x < 10 else 1 if x < 100 else 0}f} {unit}"


def verdict(row, ours, ratio):
    if row in TARGET_RATIOS:
        return f"at least {TARGET_RATIOS[row]:g}: {'reached' if ratio >= TARGET_RATIOS[row] else 'missed'}"
    if row in TARGET_SECONDS:
        return f"under {duration(TARGET_SECONDS[row])}: {'reached' if ours < TARGET_SECONDS[row] else 'missed'}"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TWINS))
    parser.add_argument("--concord", default=str(ROOT / "build/release/experiments/concord"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    args = parser.parse_args()
    unknown = set(args.names) - set(TWINS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(TWINS)}")
    if not pathlib.Path(args.concord).exists():
        parser.error(f"{args.concord} does not exist: build it (./concord info does), or give --concord")

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    torch._functorch.config.donated_buffer = False  # compiled graphs are walked once per task

    everything = {}
    for name in [n for n in TWINS if not args.names or n in args.names]:
        twins = TWINS[name](not args.no_compile)
        ours, theirs = {}, {row: {} for row in twins}
        for _ in range(args.rounds):
            times, machine = concord_times(args.concord, name, args.threads)
            for row, t in times.items():
                ours[row] = min(t, ours.get(row, t))
            for row, settings in twins.items():
                for setting, (f, seconds) in settings.items():
                    t = minimum_time(f, seconds)
                    theirs[row][setting] = min(t, theirs[row].get(setting, t))
        if not everything:
            print(f"concord {machine['concord']['version']} ({machine['concord']['revision']}), PyTorch "
                  f"{torch.__version__}, {args.threads} threads, {machine['processor']}, Python "
                  f"{platform.python_version()}")
        width = max(len(r) for r in twins) + 2
        print(f"\n{name:{width}}{'concord':>10}{'PyTorch':>10}{'ratio':>8}  PyTorch's best setting    target")
        everything[name] = {}
        for row, settings in theirs.items():
            best = min(settings, key=settings.get)
            ratio = settings[best] / ours[row]
            print(f"{row:{width}}{duration(ours[row]):>10}{duration(settings[best]):>10}{ratio:>8.2f}  "
                  f"{best:24}  {verdict(f'{name}/{row}', ours[row], ratio)}".rstrip(), flush=True)
            everything[name][row] = {"concord_s": ours[row], "pytorch_s": settings, "ratio": ratio}
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
