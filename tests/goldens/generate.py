#!/usr/bin/env python3
"""Writes the goldens beside this file: what PyTorch computes for the inputs that the tests use.

    python3 generate.py            (PyTorch 2.15.0, torchvision 0.29.2, safetensors; a few seconds)

Inputs and weights are not stored. Both sides compute them: value i of the tensor `name` is uniform
number i of concord's stream Rng(2026).fork(name) (Philox4x32-10, tensor/random.h), so the files hold
results only. Everything is computed in f64; the tests ask f64 for near-equality and f32 for 1e-5.
"""
import math
import os

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
MASK = (1 << 64) - 1
torch.set_default_dtype(torch.float64)
torch.use_deterministic_algorithms(True)


# --- concord's random streams -------------------------------------------------------------------------
def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def stream(name):
    h = 0xCBF29CE484222325
    for ch in name.encode():
        h = ((h ^ ch) * 0x100000001B3) & MASK
    return mix(mix(0) ^ h)


def bits(name, count, seed=2026):
    s = stream(name)
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    c = [blocks & 0xFFFFFFFF, blocks >> np.uint64(32),
         np.full_like(blocks, s & 0xFFFFFFFF), np.full_like(blocks, s >> 32)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), p1 & low,
             (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), p0 & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, 1).reshape(-1)[:count]


def uniform(name, shape, low=-1.0, high=1.0):
    u = (bits(name, math.prod(shape)) >> np.uint64(8)).astype(np.float64) * 2.0**-24
    return torch.from_numpy((low + (high - low) * u).reshape(shape))


def classes(name, shape, n):
    b = bits(name, math.prod(shape))
    return torch.from_numpy(((b * np.uint64(n)) >> np.uint64(32)).astype(np.int64).reshape(shape))


def fill(module):
    """Weights by name: kaiming-uniform bounds for matrices, tests/golden.h has the twin."""
    with torch.no_grad():
        for name, t in module.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            if t.dim() > 1:
                bound = math.sqrt(6.0 / (t.numel() // t.shape[0]))
                t.copy_(uniform(name, t.shape, -bound, bound))
            elif name.endswith(("running_var", "weight")):
                t.copy_(uniform(name, t.shape, 0.5, 1.5))
            else:
                t.copy_(uniform(name, t.shape, -0.2, 0.2))
    return module


def write(name, tensors):
    path = os.path.join(HERE, name + ".safetensors")
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, path)
    print(f"{name}: {len(tensors)} tensors, {os.path.getsize(path)} bytes")


# --- Layers: output, and gradients for a given cotangent ----------------------------------------------
def layers():
    out = {}

    def case(name, module, x_shape, training=True):
        if isinstance(module, nn.Module):
            fill_prefixed(module, name)
            module.train(training)
        x = uniform(name + "/x", x_shape, -2, 2).requires_grad_()
        y = module(x)
        y.backward(uniform(name + "/gy", y.shape))
        out[name + "/y"], out[name + "/gx"] = y, x.grad
        if isinstance(module, nn.Module):
            for p, v in module.named_parameters():
                out[f"{name}/{p}.grad"] = v.grad
            for b, v in module.named_buffers():
                if v.dtype == torch.float64:
                    out[f"{name}/{b}"] = v

    case("linear", nn.Linear(7, 5), (3, 7))
    case("linear_no_bias", nn.Linear(7, 5, bias=False), (3, 4, 7))
    case("conv_plain", nn.Conv2d(3, 5, 3), (2, 3, 7, 6))
    case("conv_stride_pad", nn.Conv2d(3, 5, (3, 2), stride=(2, 3), padding=(1, 2)), (2, 3, 9, 8))
    case("conv_dilated", nn.Conv2d(2, 3, 3, dilation=2, padding=2, bias=False), (3, 2, 9, 7))
    case("conv_groups", nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (3, 4, 7, 9))
    case("batch_norm1d_train", nn.BatchNorm1d(5), (7, 5))
    case("batch_norm1d_eval", nn.BatchNorm1d(5), (7, 5), training=False)
    case("batch_norm2d_train", nn.BatchNorm2d(3), (4, 3, 5, 2))
    case("batch_norm2d_eval", nn.BatchNorm2d(3), (4, 3, 5, 2), training=False)
    case("layer_norm", nn.LayerNorm(9), (3, 5, 9))
    case("layer_norm_two_axes", nn.LayerNorm((4, 3)), (5, 4, 3))
    case("max_pool", nn.MaxPool2d((3, 2), (2, 1), (1, 0)), (2, 3, 8, 5))
    case("avg_pool", nn.AvgPool2d((3, 2), (2, 1), (1, 1)), (2, 3, 8, 5))
    case("avg_pool_no_pad", nn.AvgPool2d((3, 2), (2, 1), (1, 1), count_include_pad=False), (2, 3, 8, 5))
    case("adaptive_avg_pool", nn.AdaptiveAvgPool2d((3, 2)), (2, 3, 8, 5))
    for name, f in [("relu", F.relu), ("leaky_relu", lambda x: F.leaky_relu(x, 0.1)), ("elu", F.elu),
                    ("gelu", F.gelu), ("silu", F.silu), ("tanh", torch.tanh), ("sigmoid", torch.sigmoid),
                    ("softplus", F.softplus)]:
        case(name, f, (3, 7))

    table = uniform("embedding.weight", (6, 4), -math.sqrt(1.5), math.sqrt(1.5)).requires_grad_()
    y = F.embedding(classes("embedding/x", (3, 5), 6), table)
    y.backward(uniform("embedding/gy", y.shape))
    out["embedding/y"], out["embedding/weight.grad"] = y, table.grad
    write("layers", out)


def fill_prefixed(module, prefix):
    holder = nn.Module()
    setattr(holder, prefix, module)
    fill(holder)


# --- Losses: value and gradient for each reduction ------------------------------------------------------
def losses():
    out = {}

    def case(name, x, f):
        for reduction in ("none", "mean", "sum"):
            v = x.clone().requires_grad_()
            loss = f(v, reduction)
            (loss * uniform(name + "/gy", loss.shape) if reduction == "none" else loss).sum().backward()
            out[f"{name}/{reduction}"], out[f"{name}/{reduction}.grad"] = loss, v.grad

    logits, target = uniform("logits", (5, 7), -3, 3), classes("target", (5,), 7)
    holes = target.clone()
    holes[[1, 4]] = -100
    images, pixels = uniform("images", (2, 5, 3, 4), -3, 3), classes("pixels", (2, 3, 4), 5)
    case("cross_entropy", logits, lambda x, r: F.cross_entropy(x, target, reduction=r))
    case("cross_entropy_smooth", logits,
         lambda x, r: F.cross_entropy(x, target, reduction=r, label_smoothing=0.1))
    case("cross_entropy_ignore", logits,
         lambda x, r: F.cross_entropy(x, holes, reduction=r, label_smoothing=0.1))
    case("cross_entropy_pixels", images, lambda x, r: F.cross_entropy(x, pixels, reduction=r))
    case("nll", logits, lambda x, r: F.nll_loss(F.log_softmax(x, 1), target, reduction=r))
    case("nll_ignore", logits, lambda x, r: F.nll_loss(F.log_softmax(x, 1), holes, reduction=r))
    case("nll_pixels", images, lambda x, r: F.nll_loss(F.log_softmax(x, 1), pixels, reduction=r))
    yes = uniform("yes", (5, 7), 0, 1)
    case("bce", logits, lambda x, r: F.binary_cross_entropy_with_logits(x, yes, reduction=r))
    wanted = uniform("wanted", (5, 7), -3, 3)
    case("mse", logits, lambda x, r: F.mse_loss(x, wanted, reduction=r))
    case("l1", logits, lambda x, r: F.l1_loss(x, wanted, reduction=r))
    case("huber", logits, lambda x, r: F.huber_loss(x, wanted, reduction=r, delta=1.3))
    p = yes / yes.sum(1, keepdim=True)
    p[0, 2] = 0
    case("kl", logits, lambda x, r: F.kl_div(F.log_softmax(x, 1), p, reduction=r))
    case("kl_log_target", logits,
         lambda x, r: F.kl_div(F.log_softmax(x, 1), F.log_softmax(wanted, 1), reduction=r, log_target=True))
    x = logits.clone()
    out["kl_batch_mean"] = F.kl_div(F.log_softmax(x, 1), p, reduction="batchmean")
    write("losses", out)


# --- Networks ----------------------------------------------------------------------------------------------
class PreActBlock(nn.Module):
    """He et al. 2016, "Identity mappings in deep residual networks", figure 4(e)."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False))

    def forward(self, x):
        a = F.relu(self.bn1(x))
        shortcut = self.downsample(a) if hasattr(self, "downsample") else x
        return self.conv2(F.relu(self.bn2(self.conv1(a)))) + shortcut


class ResNetV2(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        cin = 64
        for i, cout in enumerate((64, 128, 256, 512)):
            blocks = [PreActBlock(cin, cout, 1 if i == 0 else 2), PreActBlock(cout, cout, 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            cin = cout
        self.bn = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512, outputs)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


def networks():
    out = {}

    def case(name, net, shape, outputs=7):
        fill(net)
        x, target = uniform(name + "/x", shape), classes(name + "/target", shape[:1], outputs)
        net.eval()
        out[name + "/eval"] = net(x)
        net.train()
        y = net(x)
        loss = F.cross_entropy(y, target)
        loss.backward()
        out[name + "/train"], out[name + "/loss"] = y, loss
        names = sorted(n for n, _ in net.named_parameters())
        grads = {n: p.grad for n, p in net.named_parameters()}
        out[name + "/grad_norms"] = torch.stack([grads[n].norm() for n in names])  # by name, sorted
        for n in names:
            if n in ("conv1.weight", "bn1.weight", "bn1.bias", "bn.weight", "fc.bias"):
                out[f"{name}/{n}.grad"] = grads[n]
        stats = sorted(n for n, b in net.named_buffers() if b.dtype == torch.float64)
        buffers = dict(net.named_buffers())
        out[name + "/buffer_norms"] = torch.stack([buffers[n].norm() for n in stats])
        state = sorted(n for n in net.state_dict() if not n.endswith("num_batches_tracked"))
        text = "\n".join(f"{n} {tuple(net.state_dict()[n].shape)}" for n in state)
        text = text.replace(" ", "").replace("(", "[").replace(",)", "]").replace(")", "]")
        out[name + "/state"] = torch.tensor(list(text.encode()), dtype=torch.uint8)  # name[shape] lines

    def small_stem(net):
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        net.maxpool = nn.Identity()
        return net

    models = torchvision.models
    case("resnet18", models.resnet18(num_classes=7), (4, 3, 39, 35))
    case("resnet34", models.resnet34(num_classes=7), (4, 3, 39, 35))
    case("resnet50", models.resnet50(num_classes=7), (4, 3, 39, 35))
    case("resnet18-32", small_stem(models.resnet18(num_classes=7)), (3, 3, 19, 17))
    case("resnetv2-18-32", ResNetV2(7), (3, 3, 19, 17))
    write("networks", out)


def lenet():
    """Two tasks on one trunk: losses, and each task's gradient of every shared parameter."""
    out = {}

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

    net = fill(LeNet())
    shared = [(n, p) for n, p in net.named_parameters() if not n.startswith("heads")]
    outputs = net(uniform("lenet/x", (6, 1, 36, 36), 0, 1))
    rows = []
    for t, y in enumerate(outputs):
        loss = F.cross_entropy(y, classes(f"lenet/target{t}", (6,), 10))
        g = torch.autograd.grad(loss, [p for _, p in shared] + list(net.heads[t].parameters()),
                                retain_graph=True)
        out[f"loss{t}"], out[f"output{t}"] = loss, y
        for (n, _), v in zip(shared, g):
            if n != "fc1.weight":  # 36,000 values: its norms and the Gram matrix are enough
                out[f"{n}.grad{t}"] = v
        out[f"heads.{t}.weight.grad"], out[f"heads.{t}.bias.grad"] = g[-2], g[-1]
        rows.append(torch.cat([v.flatten() for v in g[:-2]]))
    J = torch.stack(rows)
    out["gram"] = J @ J.T
    write("lenet", out)


# --- Ten steps with each optimiser ---------------------------------------------------------------------------
def optimizers():
    out = {}
    x, target = uniform("mlp/x", (11, 5)), uniform("mlp/target", (11, 3))

    def case(name, make, prepare=None):
        net = nn.Sequential()
        net.add_module("fc1", nn.Linear(5, 7))
        net.add_module("tanh", nn.Tanh())
        net.add_module("fc2", nn.Linear(7, 3))
        fill(net)
        optimizer = make(net)
        curve = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), target)
            loss.backward()
            if prepare:
                prepare(net)
            curve.append(loss.detach())
            optimizer.step()
        out[name + "/losses"] = torch.stack(curve)
        for n, p in net.named_parameters():
            out[f"{name}/{n}"] = p

    o = torch.optim
    case("sgd", lambda n: o.SGD(n.parameters(), 0.5))
    case("sgd_momentum", lambda n: o.SGD(n.parameters(), 0.1, momentum=0.9))
    case("sgd_dampening", lambda n: o.SGD(n.parameters(), 0.2, momentum=0.9, dampening=0.3))
    case("sgd_nesterov", lambda n: o.SGD(n.parameters(), 0.1, momentum=0.9, nesterov=True))
    case("sgd_decay", lambda n: o.SGD(n.parameters(), 0.1, momentum=0.8, weight_decay=0.05))
    case("adam", lambda n: o.Adam(n.parameters(), 0.05))
    case("adam_decay", lambda n: o.Adam(n.parameters(), 0.05, betas=(0.8, 0.95), weight_decay=0.1))
    case("adamw", lambda n: o.AdamW(n.parameters(), 0.05, weight_decay=0.2))
    case("rmsprop", lambda n: o.RMSprop(n.parameters(), 0.02))
    case("rmsprop_momentum", lambda n: o.RMSprop(n.parameters(), 0.01, alpha=0.9, momentum=0.7, weight_decay=0.1))
    case("rmsprop_centered", lambda n: o.RMSprop(n.parameters(), 0.01, alpha=0.9, centered=True))
    case("rmsprop_centered_momentum",
         lambda n: o.RMSprop(n.parameters(), 0.005, alpha=0.9, momentum=0.7, centered=True))
    case("groups", lambda n: o.SGD([
        {"params": [n.fc1.weight], "lr": 0.02, "weight_decay": 0.05},
        {"params": [n.fc1.bias], "lr": 0.02, "weight_decay": 0.0},
        {"params": [n.fc2.weight]},  # fc2.bias is frozen
    ], 0.2, momentum=0.9, weight_decay=0.1))
    case("clip_norm", lambda n: o.SGD(n.parameters(), 0.5),
         lambda n: nn.utils.clip_grad_norm_(n.parameters(), 0.3))
    case("clip_value", lambda n: o.Adam(n.parameters(), 0.05),
         lambda n: nn.utils.clip_grad_value_(n.parameters(), 0.05))
    write("optimizers", out)


def schedules():
    out = {}

    def case(name, steps, make, rate=0.4):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], rate)
        schedule = make(optimizer)
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        out[name] = torch.tensor(rates)

    s = torch.optim.lr_scheduler
    case("step", 23, lambda o: s.StepLR(o, 5, 0.3))
    case("multi_step", 23, lambda o: s.MultiStepLR(o, [4, 11, 12], 0.2))
    case("cosine", 23, lambda o: s.CosineAnnealingLR(o, 22, 0.04))
    case("warm_up_cosine", 23, lambda o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 6), s.CosineAnnealingLR(o, 16)], [6]))
    case("one_cycle", 30, lambda o: s.OneCycleLR(o, 0.4, 31, cycle_momentum=False))
    case("one_cycle_linear", 30, lambda o: s.OneCycleLR(
        o, 0.4, 31, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100,
        cycle_momentum=False))
    write("schedules", out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    layers()
    losses()
    networks()
    lenet()
    optimizers()
    schedules()
