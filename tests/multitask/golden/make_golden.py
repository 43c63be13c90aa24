"""Writes torchjd.txt: TorchJD's answers on random matrices, for torchjd_test.cpp.

Usage: python make_golden.py > torchjd.txt      (needs torch and torchjd[full] from PyPI; float64 throughout)

Each case is one line `J T P rank scale` followed by T lines of P numbers and, per method, one line
`method tolerance d_1 ... d_P`. The tolerance is relative to the longest row and stands for TorchJD's own
solver: its iterations (MGDA, FairGrad) or the accuracy of its conic solver (CAGrad), not for ours.
"""
import sys

import torch
import torchjd
import torchjd.aggregation as A

torch.set_default_dtype(torch.float64)


def methods(tasks, rank):
    yield "upgrad", A.UPGrad(), 1e-7
    yield "dualproj", A.DualProj(), 1e-7
    yield "mgda", A.MGDA(epsilon=1e-12, max_iters=20000), 5e-3
    yield "cagrad", A.CAGrad(c=0.5, norm_eps=0.0), 2e-4
    if rank == tasks:  # dependent rows: other pseudo-inverses and rank decisions, see multitask/README.md
        yield "aligned_mtl", A.AlignedMTL(), 1e-8
        yield "imtl_g", A.IMTLG(), 1e-7
        yield "config", A.ConFIG(), 1e-8
    if tasks >= 4:
        yield "krum", A.Krum(n_byzantine=1, n_selected=2), 1e-11


def main():
    generator = torch.Generator().manual_seed(7)
    print(f"# torchjd {getattr(torchjd, '__version__', '')} torch {torch.__version__}", file=sys.stderr)
    for case in range(60):
        tasks = 1 + case % 8
        rank = tasks if case % 3 else 1 + case % tasks
        columns = tasks + 1 + case % 3
        scale = 10.0 ** (case % 5 * 3 - 6)
        left = torch.randn(tasks, rank, generator=generator)
        right = torch.randn(rank, columns, generator=generator)
        if rank == tasks:
            left = torch.eye(tasks)
        matrix = scale * (left @ right)
        print("J", tasks, columns, rank, f"{scale:g}")
        for row in matrix:
            print(*[f"{x:.17g}" for x in row.tolist()])
        for name, aggregator, tolerance in methods(tasks, rank):
            try:
                d = aggregator(matrix)
            except Exception as error:  # their solver's failure is no reference
                print(f"case {case} {name}: {error}", file=sys.stderr)
                continue
            print(name, tolerance, *[f"{x:.12g}" for x in d.tolist()])


main()
