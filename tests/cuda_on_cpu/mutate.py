#!/usr/bin/env python3
"""Would the tests notice? Takes one barrier, bounds guard or clamp after the other out of the .cu
files and runs the tests of that file: in several thread orders, then under the address sanitiser,
then under the race check. Lists what no run noticed.

    mutate.py TREE [x.cu ...]

TREE is a scratch copy of the repository (git worktree add): its .cu files are rewritten, its folder
build/mutants-* built. A file is compiled once with all its mutants, of which CONCORD_MUTANT chooses
one when the program starts.
"""
import os
import pathlib
import re
import subprocess
import sys

ORDERS = ["ascending", "descending", "fifo:1", "lifo:1", "lifo:2"]
PRESETS = ["release", "asan", "cuda-race"]
PREAMBLE = """#include <cstdlib>
static const int chosen_mutant =
    std::getenv("CONCORD_MUTANT") ? std::atoi(std::getenv("CONCORD_MUTANT")) : 0;
static inline bool mutant(int i) { return i == chosen_mutant; }
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


def rewrite(path):
    text = path.read_text()
    mutants = find(text)
    new = text
    for i in range(len(mutants), 0, -1):
        begin, end, _, replacement = mutants[i - 1]
        new = new[:begin] + replacement.replace("{}", str(i), 1) + new[end:]
    path.write_text(PREAMBLE + "#line 1\n" + new)
    lines = [text.count("\n", 0, m[0]) + 1 for m in mutants]
    return [
        (line, m[2], " ".join(text.splitlines()[line - 1].split())) for line, m in zip(lines, mutants)
    ]


def build(tree, preset):
    folder = tree / "build" / f"mutants-{preset}"
    quiet = dict(cwd=tree, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--preset", preset, "-B", folder, "--log-level=WARNING"], **quiet)
    subprocess.run(["cmake", "--build", folder, "--target", "test_cuda"], **quiet)
    return folder / "tests" / "cuda" / "test_cuda"


def noticed(program, source, mutant, order):
    env = dict(os.environ, CONCORD_MUTANT=str(mutant), CUDA_ON_CPU_ORDER=order, OMP_NUM_THREADS="1")
    run = [program, f"--source-file=*{source}_test.cpp"]
    try:
        done = subprocess.run(run, env=env, timeout=300, capture_output=True)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def main():
    tree = pathlib.Path(sys.argv[1]).resolve()
    folder = tree / "tensor" / "kernels" / "cuda"
    names = sys.argv[2:] or sorted(p.name for p in folder.glob("*.cu"))
    mutants = {name: rewrite(folder / name) for name in names}
    alive = [(name, i + 1) for name in names for i in range(len(mutants[name]))]
    print(len(alive), "mutants", flush=True)
    for preset in PRESETS:
        program = build(tree, preset)
        for order in ORDERS if preset == "release" else ORDERS[:1]:
            for name in {name for name, _ in alive}:
                if noticed(program, name[:-3], 0, order):
                    sys.exit(f"{preset}, {order}: {name} fails without a mutant")
            before = len(alive)
            alive = [(n, i) for n, i in alive if not noticed(program, n[:-3], i, order)]
            print(f"{preset} {order}: noticed {before - len(alive)}, left {len(alive)}", flush=True)
    for name, i in alive:
        line, kind, code = mutants[name][i - 1]
        print(f"{name}:{line} {kind}: {code}")


if __name__ == "__main__":
    main()
