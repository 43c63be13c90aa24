#!/usr/bin/env python3
"""The same 200 steps in PyTorch: are concord's loss curves those of PyTorch?

    build/release/tests/bench/truth curves curves.safetensors [adam 0.001]
    python3 tests/bench/truth/compare.py curves.safetensors         (torch, numpy, safetensors)

The file holds initial weights, batches, and concord's losses, cosines and weights, in f32 and f64, for
equal weights, PCGrad (order by index) and CAGrad. This side is the plain loop of a PyTorch user: one
autograd.grad per task, flattened, combined, written into .grad. It runs in f32 and f64.

A rounding difference that tips a ReLU or the maximum of a pooling window makes two f32 runs part for
good, sooner or later by chance. The yardstick is PyTorch itself: an f32 run as it is, and four from
initial weights moved by up to one unit in the last place, half of them in channels_last. Per method and range of steps, with e = |loss - loss_f64|
/ loss_f64 and loss_f64 PyTorch's curve in f64:

  f64   concord's curve in f64: e at most 1e-9
  f32   concord's curve in f32: e at most 1e-5, or at most 4 times that of the worst of PyTorch's

`--golden FILE` instead writes the golden of cosines_test.cpp.
"""
import argparse
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

METHODS = ["equal", "pcgrad", "cagrad"]
RANGES = [(1, 1), (2, 10), (11, 50), (51, 100), (101, 200)]
F64_BOUND, F32_BOUND, F32_FACTOR = 1e-9, 1e-5, 4.0
PYTORCH_RUNS = 5


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
        self.fc1 = nn.Linear(720, 50)
        self.heads = nn.ModuleList([nn.Linear(50, 10), nn.Linear(50, 10)])

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.fc1(x.flatten(1)))
        return [h(x) for h in self.heads]


def rows_of(net, losses):
    """Gradient of each loss: [tasks, shared], and the heads' own as a list per task."""
    shared = [p for n, p in net.named_parameters() if not n.startswith("heads")]
    rows, heads = [], []
    for t, loss in enumerate(losses):
        g = torch.autograd.grad(loss, shared + list(net.heads[t].parameters()), retain_graph=True)
        rows.append(torch.cat([v.flatten() for v in g[:len(shared)]]))
        heads.append(g[len(shared):])
    return shared, torch.stack(rows), heads


def equal(J, c):
    return J.sum(0)


def pcgrad(J, c):
    """Yu et al. 2020, algorithm 1, other tasks in the order of their index."""
    d = torch.zeros_like(J[0])
    for i in range(len(J)):
        p = J[i].clone()
        for j in range(len(J)):
            if j != i and torch.dot(p, J[j]) < 0:
                p -= torch.dot(p, J[j]) / torch.dot(J[j], J[j]) * J[j]
        d += p
    return d


def cagrad(J, c):
    """Liu et al. 2021, equation 5, for two tasks. w in [0, 1] minimises the convex
    f(w) = <g_w, g_0> + c |g_0| |g_w|, g_w = w g_1 + (1 - w) g_2: bisection on its derivative, in f64."""
    G = (J.double() @ J.double().T).numpy()
    g0 = np.array([0.5, 0.5])
    radius = c * np.sqrt(g0 @ G @ g0)
    e = np.array([1.0, -1.0])

    def slope(w):
        v = np.array([w, 1 - w])
        return e @ G @ g0 + radius * (e @ G @ v) / np.sqrt(v @ G @ v)

    low, high = 0.0, 1.0
    if slope(low) >= 0:
        w = low
    elif slope(high) <= 0:
        w = high
    else:
        for _ in range(200):
            w = (low + high) / 2
            low, high = (low, w) if slope(w) > 0 else (w, high)
    v = np.array([w, 1 - w])
    weights = g0 + radius / np.sqrt(v @ G @ v) * v
    return (torch.from_numpy(weights).to(J.dtype).unsqueeze(1) * J).sum(0)


def replay(file, meta, method, dtype, run=0):
    """Losses [steps, tasks] and cosines [steps]. Runs after the first start one ulp aside."""
    net = LeNet().to(dtype)
    net.load_state_dict({n[6:]: file.get_tensor(n) for n in file.keys() if n.startswith("start/")})
    if run:
        generator = torch.Generator().manual_seed(run)
        with torch.no_grad():
            for p in net.parameters():
                p *= 1 + 2.0**-23 * (2 * torch.rand(p.shape, generator=generator) - 1)
    if run % 2:
        net = net.to(memory_format=torch.channels_last)
    rate = float(meta["rate"])
    optimizer = {"adam": lambda p: torch.optim.Adam(p, rate),
                 "sgd": lambda p: torch.optim.SGD(p, rate, momentum=float(meta["momentum"]))}[
                     meta["optimizer"]](net.parameters())
    inputs, labels = file.get_tensor("input"), file.get_tensor("labels")
    losses, cosines = [], []
    for x, y in zip(inputs, labels):
        step = [F.cross_entropy(o, t) for o, t in zip(net(x.to(dtype)), y)]
        shared, J, heads = rows_of(net, step)
        d = globals()[method](J, float(meta["cagrad.c"]))
        first = 0
        for p in shared:
            p.grad = d[first:first + p.numel()].view_as(p)
            first += p.numel()
        for head, g in zip(net.heads, heads):
            for p, v in zip(head.parameters(), g):
                p.grad = v
        optimizer.step()
        losses.append([l.item() for l in step])
        cosines.append(F.cosine_similarity(J[0].double(), J[1].double(), 0).item())
    return np.array(losses), np.array(cosines)


def compare(path):
    good = True
    with safe_open(path, "pt") as file:
        meta = file.metadata()
        print(f"{meta['optimizer']}, rate {meta['rate']}; relative to PyTorch's losses in f64, the largest "
              "of each range of steps; cos: largest difference of the cosine of the two gradients\n")
        print(f"{'method':8}{'steps':>9}{'concord f64':>13}{'concord f32':>13}{'PyTorch f32':>13}"
              f"{'cos f64':>10}{'cos f32':>10}{'cos PyT.':>10}  verdict")
        for method in METHODS:
            base, base_cos = replay(file, meta, method, torch.float64)
            theirs = [replay(file, meta, method, torch.float32, run) for run in range(PYTORCH_RUNS)]
            ours = {k: (file.get_tensor(f"{method}/{k}/loss").numpy(),
                        file.get_tensor(f"{method}/{k}/cosine").numpy()) for k in ("f32", "f64")}
            for first, last in RANGES:
                at = slice(first - 1, last)

                def error(curve):
                    return float(np.max(np.abs(curve[at] - base[at]) / base[at]))

                def cos_error(curve):
                    return float(np.max(np.abs(curve[at] - base_cos[at])))

                e64, e32 = error(ours["f64"][0]), error(ours["f32"][0])
                t32 = max(error(curve) for curve, _ in theirs)
                t32_cos = max(cos_error(cosines) for _, cosines in theirs)
                fine = e64 <= F64_BOUND and (e32 <= F32_BOUND or e32 <= F32_FACTOR * t32)
                good = good and fine
                print(f"{method:8}{f'{first}-{last}':>9}{e64:>13.1e}{e32:>13.1e}{t32:>13.1e}"
                      f"{cos_error(ours['f64'][1]):>10.0e}{cos_error(ours['f32'][1]):>10.0e}"
                      f"{t32_cos:>10.0e}  {'same' if fine else 'NOT THE SAME'}")
            conflicts = int((base_cos < 0).sum())
            print(f"{'':8}  {conflicts} of {len(base)} steps with conflicting gradients; losses at the end, "
                  f"PyTorch f64 {base[-1][0]:.6f} {base[-1][1]:.6f}, concord f32 "
                  f"{ours['f32'][0][-1][0]:.6f} {ours['f32'][0][-1][1]:.6f}")
    print("\nThe curves are the same." if good else "\nThe curves DIFFER.")
    return 0 if good else 1


def golden(curves, path):
    """Three of the batches, cut to 12 images: those with the lowest, the middle and the highest cosine.
    Weights by name, as in tests/goldens/generate.py; everything in f64."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "goldens"))
    import generate  # sets the default dtype to f64
    mean, deviation = 0.3042, 0.3641  # MultiFashionOptions
    with safe_open(curves, "pt") as file:
        normalised = file.get_tensor("input")[:, :12].double()
        labels = file.get_tensor("labels")[:, :, :12]
    images = torch.round((normalised * deviation + mean) * 255).to(torch.uint8)
    assert torch.allclose((images / 255.0 - mean) / deviation, normalised, atol=1e-6)
    net = generate.fill(LeNet())
    results = []
    for x, y in zip(images, labels):
        losses = [F.cross_entropy(o, t) for o, t in zip(net(x / 255.0), y)]
        _, J, _ = rows_of(net, losses)
        results.append((F.cosine_similarity(J[0], J[1], 0), J.norm(dim=1), torch.stack(losses).detach()))
    order = sorted(range(len(results)), key=lambda i: results[i][0].item())
    chosen = [order[0], order[len(order) // 2], order[-1]]
    cosine, norm, loss = (torch.stack(v) for v in zip(*[results[i] for i in chosen]))
    print("cosines", cosine.tolist())
    save_file({"images": images[chosen].contiguous(), "labels": labels[chosen].contiguous(),
               "cosine": cosine, "norm": norm, "loss": loss}, path)
    pathlib.Path(path).chmod(0o644)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", help="what `truth curves` wrote")
    parser.add_argument("--golden", metavar="FILE", help="write the golden of cosines_test.cpp from its batches")
    args = parser.parse_args()
    return golden(args.curves, args.golden) if args.golden else compare(args.curves)


if __name__ == "__main__":
    sys.exit(main())
