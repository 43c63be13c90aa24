#!/usr/bin/env python3
"""The main job's default run of one arm (equal weights) in PyTorch: are the accuracies those of concord?

    build/release/tests/bench/truth data data.safetensors
    python3 tests/bench/truth/train.py data.safetensors [--seeds 5]       (torch, safetensors)
    ./concord run multifashion --methods equal --seeds 5

Same images (20,000 to train, 5,000 to test), network, PyTorch's initialisation, Adam at 1e-3, batches
of 256, 5 epochs: the defaults of experiments/multifashion.cpp. Weights and order of the images are
drawn by PyTorch, so the two sides agree as two sets of seeds do.
"""
import argparse
import statistics
import sys

import torch
import torch.nn.functional as F
from safetensors import safe_open

from compare import LeNet

RATE, BATCH, EPOCHS = 1e-3, 256, 5


def train(inputs, labels, seed):
    torch.manual_seed(seed)
    net = LeNet()
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    for _ in range(EPOCHS):
        for items in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            outputs = net(inputs[items])
            sum(F.cross_entropy(o, t[items]) for o, t in zip(outputs, labels)).backward()
            optimizer.step()
    return net


@torch.no_grad()
def accuracies(net, inputs, labels):
    hits = [0, 0]
    for items in torch.arange(len(inputs)).split(1000):
        for t, o in enumerate(net(inputs[items])):
            hits[t] += (o.argmax(1) == labels[t][items]).sum().item()
    return [100 * h / len(inputs) for h in hits]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="what `truth data` wrote")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    with safe_open(args.data, "pt") as file:
        parts = {p: (file.get_tensor(f"{p}/input"), file.get_tensor(f"{p}/labels")) for p in ("train", "test")}
    results = []
    for seed in range(1, args.seeds + 1):
        results.append(accuracies(train(*parts["train"], seed), *parts["test"]))
        print(f"seed {seed}: left {results[-1][0]:.2f} %, right {results[-1][1]:.2f} %", flush=True)
    for task, values in zip(("left", "right"), zip(*results)):
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        print(f"{task}: mean {statistics.mean(values):.2f} %, standard deviation {spread:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
