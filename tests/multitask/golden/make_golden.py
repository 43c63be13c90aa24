"""Writes torchjd.txt: TorchJD's answers on 200 random matrices, for torchjd_test.cpp.

Usage: python make_golden.py > torchjd.txt      (needs torch and torchjd[full] from PyPI; float64 throughout)

Each case is one line `J T P rank scale` followed by T lines of P whole numbers, which are to be multiplied by
`scale`, and, per method, one line `method tolerance d_1 ... d_P`. The tolerance is relative to the longest row and
stands for TorchJD's own solver: its iterations (MGDA, FairGrad) or the accuracy of its conic solver (CAGrad), not for
ours. Random draws are injected: visiting orders are 0, 1, 2, ..., and GradDrop's U for column k is frac(0.11 + 0.37 k).
"""
import sys

import torch
import torchjd
import torchjd.aggregation as A

torch.set_default_dtype(torch.float64)
torch.randperm = lambda n, **_: torch.arange(n)
torch.rand = lambda shape, **_: (0.11 + 0.37 * torch.arange(shape[0])) % 1


def methods(tasks, rank, longest):
    yield "sum", A.Sum(), 1e-12
    yield "mean", A.Mean(), 1e-12
    yield "upgrad", A.UPGrad(), 1e-7
    yield "dualproj", A.DualProj(), 1e-7
    yield "mgda", A.MGDA(epsilon=1e-12, max_iters=5000), 1e-2
    yield "cagrad", A.CAGrad(c=0.5, norm_eps=0.0), 2e-4
    yield "pcgrad", A.PCGrad(), 1e-10
    yield "graddrop", A.GradDrop(), 1e-12
    yield "pcd", A.PCD(), 1e-6
    yield "excess_mtl", A.ExcessMTL(), 1e-9
    if longest > 1:  # it adds 1e-8 to products of norms
        yield "gradvac", A.GradVac(), 1e-6
    if rank == tasks:  # dependent rows: other pseudo-inverses and rank decisions, see multitask/README.md
        yield "aligned_mtl", A.AlignedMTL(), 1e-8
        yield "imtl_g", A.IMTLG(), 1e-7
        yield "config", A.ConFIG(), 1e-8
        if 1 < longest < 1e4:  # scipy's least squares stop early at other scales
            yield "fairgrad", A.FairGrad(alpha=1.0), 1e-3
    if tasks >= 3:
        yield "trimmed_mean", A.TrimmedMean(1), 1e-12
    if tasks >= 4:
        yield "krum", A.Krum(n_byzantine=1, n_selected=2), 1e-11


def main():
    generator = torch.Generator().manual_seed(7)
    print(f"# torchjd {getattr(torchjd, '__version__', '')} torch {torch.__version__}", file=sys.stderr)
    for case in range(200):
        tasks = 1 + case % 12
        rank = tasks if case % 3 else 1 + (case // 3) % tasks
        columns = tasks + case % 3
        scale = 10.0 ** (case % 13 - 6)
        if rank == tasks:
            numbers = torch.randint(-99, 100, (tasks, columns), generator=generator)
        else:
            left = torch.randint(-9, 10, (tasks, rank), generator=generator)
            numbers = left @ torch.randint(-9, 10, (rank, columns), generator=generator)
        matrix = scale * numbers.to(torch.float64)
        rank = int(torch.linalg.matrix_rank(matrix / scale))
        print("J", tasks, columns, rank, f"{scale:g}")
        for row in numbers:
            print(*row.tolist())
        for name, aggregator, tolerance in methods(tasks, rank, matrix.norm(dim=1).max()):
            try:
                d = aggregator(matrix)
            except Exception as error:  # their solver's failure is no reference
                print(f"case {case} {name}: {error}", file=sys.stderr)
                continue
            print(name, tolerance, *[f"{x:.12g}" for x in d.tolist()])


main()
