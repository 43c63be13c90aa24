#!/usr/bin/env python3
"""Would the tests notice? Takes one barrier, bounds guard or clamp after the other out of the .cu
files and runs the tests of that file: without barriers in several thread orders and under the race
check, without guards also under the address sanitiser. Lists what no run noticed.

    mutate.py TREE [x.cu ...]

TREE is a scratch copy of the repository (git worktree add): its .cu files are rewritten, its folders
build/mutants-* built. A file is compiled once with all its mutants, of which CONCORD_MUTANT chooses
one when the program starts.
"""
import os
import pathlib
import re
import subprocess
import sys

# (preset, thread order, kinds of mutants that it may notice)
RUNS = [
    ("release", "ascending", ["barrier", "guard", "clamp"]),
    ("release", "descending", ["barrier"]),
    ("release", "lifo:1", ["barrier"]),
    ("release", "fifo:1", ["barrier"]),
    ("cuda-race", "ascending", ["barrier"]),
    ("asan", "ascending", ["guard", "clamp"]),
]
PREAMBLE = """#ifndef CONCORD_MUTANTS
#define CONCORD_MUTANTS
#include <cstdlib>
static const int chosen_mutant =
    std::getenv("CONCORD_MUTANT") ? std::atoi(std::getenv("CONCORD_MUTANT")) : 0;
static inline bool mutant(int i) { return i == chosen_mutant; }
#endif
"""


def matching(text, at):
    """The index behind the bracket that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in "({[") - (text[i] in ")}]")
        if depth == 0:
            return i + 1
    raise ValueError("no closing bracket")


def blank_comments(text):
    return re.sub(r"//[^\n]*", lambda m: " " * len(m.group()), text)


def device_code(text):
    """(begin, end) of the bodies of device functions that run when the kernel does."""
    for m in re.finditer(r"__(global|device)__", text):
        end = m.end()
        while text[end] not in "{;":
            end = matching(text, end) if text[end] == "(" else end + 1
        # An initialiser list, or a body.
        if text[end] == "{" and "constexpr" not in text[text.rfind("\n", 0, m.start()) : end]:
            yield end, matching(text, end)


COMPARES = re.compile(r"(?<![<>-])[<>]=?(?![<>])")


def find(text):
    """(begin, end, kind, replacement with {} for the mutant's number)."""
    code = blank_comments(text)
    found = {}

    def add(begin, end, kind, replacement):
        found.setdefault((begin, end), (kind, replacement))

    for first, last in device_code(code):
        for m in re.compile(r"__sync(threads|warp)\([^;]*\);").finditer(code, first, last):
            add(*m.span(), "barrier", "if (!mutant({})) " + m.group())
        for m in re.compile(r"\bif \(").finditer(code, first, last):
            end = matching(code, m.end() - 1)
            condition = text[m.end() : end - 1]
            if not COMPARES.search(condition):
                continue
            leaves = re.match(r"\s*(return|continue);", code[end:])
            new = "!mutant({}) && (" if leaves else "mutant({}) || ("
            add(m.end(), end - 1, "guard", new + condition + ")")
        for m in re.compile(r"(?:\bbool \w+ =|\breturn|[^=<>!]=)\s([^=?;{}]*?)(?= \?|;)").finditer(
            code, first, last
        ):
            value = m.group(1)
            chosen = code[m.end() :].startswith(" ?") or m.group().startswith("bool")
            if chosen and COMPARES.search(value) and value.count("(") == value.count(")"):
                add(*m.span(1), "guard", "mutant({}) || (" + text[slice(*m.span(1))] + ")")
        for m in re.compile(r"(?<![\w:])min\(").finditer(code, first, last):
            end = matching(code, m.end() - 1)
            arguments = text[m.end() : end - 1]
            add(m.start(), end, "clamp", f"(mutant({{}}) ? max({arguments}) : min({arguments}))")
    # Nested ones would fall out of place: the outer stays.
    spans, result = [], []
    for (begin, end), (kind, new) in sorted(found.items(), key=lambda f: f[0][0] - f[0][1]):
        if all(end <= b or begin >= e for b, e in spans):
            spans.append((begin, end))
            result.append((begin, end, kind, new))
    return sorted(result)


def rewrite(path, number):
    """Puts mutants number, number + 1, ... into the file: (number, file, line, kind, code) of each."""
    text = path.read_text()
    new, mutants = text, find(text)
    for i, (begin, end, _, replacement) in reversed(list(enumerate(mutants, number))):
        new = new[:begin] + replacement.replace("{}", str(i), 1) + new[end:]
    path.write_text(PREAMBLE + "#line 1\n" + new)
    lines = [text.count("\n", 0, m[0]) for m in mutants]
    return [
        (i, path, line + 1, m[2], " ".join(text.splitlines()[line].split()))
        for i, (line, m) in enumerate(zip(lines, mutants), number)
    ]


def build(tree, preset):
    folder = tree / "build" / f"mutants-{preset}"
    quiet = dict(cwd=tree, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--preset", preset, "-B", folder, "--log-level=WARNING"], **quiet)
    subprocess.run(["cmake", "--build", folder, "--target", "test_cuda"], **quiet)
    return folder / "tests" / "cuda" / "test_cuda"


def noticed(program, path, mutant, order):
    env = dict(os.environ, CONCORD_MUTANT=str(mutant), CUDA_ON_CPU_ORDER=order, OMP_NUM_THREADS="1")
    # Tests bear the name of the file; a header is tested with the files that include it.
    users = [p.stem for p in path.parent.glob("*.cu") if p == path or path.name in p.read_text()]
    tests = ",".join(f"*{name}_test.cpp" for name in users)
    run = [program, f"--source-file={tests}", "--test-case-exclude=*<double>*", "--abort-after=1"]
    try:
        return subprocess.run(run, env=env, timeout=300, capture_output=True).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def main():
    tree = pathlib.Path(sys.argv[1]).resolve()
    folder = tree / "tensor" / "kernels" / "cuda"
    alive = []
    for name in sys.argv[2:] or sorted(p.name for p in folder.iterdir() if p.suffix in (".cu", ".h")):
        alive += rewrite(folder / name, len(alive) + 1)
    print(len(alive), "mutants", flush=True)
    built = {}
    for preset, order, kinds in RUNS:
        tried = [m for m in alive if m[3] in kinds]
        if not tried:
            continue
        if preset not in built:
            built[preset] = build(tree, preset)
        for path in {m[1] for m in tried}:
            if noticed(built[preset], path, 0, order):
                sys.exit(f"{preset}, {order}: {path.name} fails without a mutant")
        dead = [m for m in tried if noticed(built[preset], m[1], m[0], order)]
        alive = [m for m in alive if m not in dead]
        print(f"{preset} {order}: tried {len(tried)}, noticed {len(dead)}", flush=True)
    for _, path, line, kind, code in alive:
        print(f"{path.name}:{line} {kind}: {code}")


if __name__ == "__main__":
    main()
