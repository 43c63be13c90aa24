#!/usr/bin/env python3
"""What the compiler reports of the CUDA kernels, as a Markdown table, the instances of a template in one
line: registers, static shared memory, bytes spilled, and how many of a multiprocessor's 2048 threads fit at
once on an H100 (65,536 registers in units of 256 per warp, 228 KiB of shared memory, 32 blocks).

    python3 tests/bench/cuda_resources.py [FILE.cu ...]     needs nvcc

Dynamic shared memory is not in the compiler's report; kernels without __launch_bounds__ count as 256 threads.
"""
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout + done.stderr


def occupancy(threads, registers, shared):
    warps = -(-threads // 32)
    per_warp = -(-registers * 32 // 256) * 256
    blocks = min(32, 64 // warps, 65536 // (per_warp * warps), (228 << 10) // (shared + 1024))
    return blocks * warps / 64


def short(mangled):
    """"correlate<Tile<float, 128>>" for the whole name."""
    name = run("c++filt", mangled).strip()
    name = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N__\w+::|concord::|kernels::|cuda::", "", name)
    name = re.sub(r"^void ", "", name)
    depth = 0
    for i, c in enumerate(name):  # cut the parameters, keep template arguments
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            return name[:i].replace("(int)", "").replace("(bool)", "")
    return name


def resources(source, folder):
    ptx = folder / "kernel.ptx"
    include = folder / "include"
    if not include.exists():
        include.mkdir()
        (include / "concord").symlink_to(ROOT)
    run("nvcc", "-std=c++20", "-arch=sm_90", "--expt-relaxed-constexpr", "-I", str(include), "-ptx", str(source), "-o", str(ptx))
    threads = {}
    for entry, bounds in re.findall(r"\.entry (\w+)\([^)]*\)([^{]*)\{", ptx.read_text()):
        limit = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", bounds)
        if limit:
            threads[entry] = int(limit[1]) * int(limit[2] or 1) * int(limit[3] or 1)
    report = run("ptxas", "-v", "-arch=sm_90", str(ptx), "-o", str(folder / "kernel.cubin"))
    for entry, text in re.findall(r"Compiling entry function '(\w+)'.*?\n(.*?)(?=ptxas info    : Compil|\Z)", report, re.S):
        number = lambda pattern: int((re.search(pattern, text) or [0, 0])[1])
        yield short(entry), threads.get(entry, 256), number(r"Used (\d+) registers"), number(r"(\d+) bytes smem"), \
            number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")


def between(values, form=str):
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def main():
    sources = [pathlib.Path(a) for a in sys.argv[1:]] or sorted((ROOT / "tensor/kernels/cuda").glob("*.cu"))
    print("| file | kernel | instances | registers f32 | f64 | shared bytes | spilled | occupancy f32 |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            kernels = collections.defaultdict(list)
            for name, *figures in resources(source, pathlib.Path(folder)):
                kernels[name.split("<")[0]].append(("double" in name, *figures))
            for name, all_ in sorted(kernels.items()):
                singles = [k for k in all_ if not k[0]] or all_
                doubles = [k for k in all_ if k[0]]
                print(f"| {source.name} | `{name}` | {len(all_)} | {between([k[2] for k in singles])} | "
                      f"{between([k[2] for k in doubles]) if doubles else '-'} | {between([k[3] for k in all_])} | "
                      f"{sum(k[4] for k in all_)} | {between([occupancy(*k[1:4]) for k in singles], '{:.0%}'.format)} |")


main()
