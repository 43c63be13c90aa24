#!/usr/bin/env python3
"""What the compiler reports of every CUDA kernel, as a Markdown table: registers, static shared memory,
bytes spilled, and how many of a multiprocessor's 2048 threads fit at once on an H100 (65,536 registers in
units of 256 per warp, 228 KiB of shared memory, 32 blocks).

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


def main():
    sources = [pathlib.Path(a) for a in sys.argv[1:]] or sorted((ROOT / "tensor/kernels/cuda").glob("*.cu"))
    print("| file | kernel | threads | registers | shared | spilled | occupancy |")
    print("|---|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            # Instances with equal figures (one per op of the element-wise list, say) share a line.
            lines = collections.defaultdict(list)
            for name, *figures in resources(source, pathlib.Path(folder)):
                lines[(name.split("<")[0], *figures)].append(name)
            for (kernel, threads, registers, shared, spilled), names in lines.items():
                text = names[0] if len(names) == 1 else f"{kernel}, {len(names)} instances"
                print(f"| {source.name} | `{text}` | {threads} | {registers} | {shared} | {spilled} | "
                      f"{occupancy(threads, registers, shared):.0%} |")


main()
