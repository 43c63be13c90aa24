"""Step-by-step traces of the PyPI package minatar 1.0.15 with injected random numbers.

    pip install minatar==1.0.15 && python generate.py

Writes minatar.safetensors: for each game `<game>.actions`, u8 [10000], and `<game>.hashes`, u8
[10000,2]. All random numbers of a game come from one Philox stream, that of environment 0 with seed
2026 in concord (rl/draws.h), by the rules in class Draws. After each step a 64-bit FNV-1a hash goes
on with the reward, the end flag and the observed planes (and with those after the reset, where an
episode ended); its lowest 16 bits are kept, so that the first difference shows its step.

The package is used as it is installed. Takes some minutes.
"""
import copy
import json
import pathlib
import struct

import numpy as np
from minatar import Environment

GAMES = ["breakout", "asterix", "freeway", "seaquest", "space_invaders"]
STEPS = 10000
SEED = 2026
M64 = (1 << 64) - 1


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & M64
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & M64
    return x ^ x >> 31


def fork_name(stream, name):
    h = 0xCBF29CE484222325
    for ch in name.encode():
        h = ((h ^ ch) * 0x100000001B3) & M64
    return mix(mix(stream) ^ h)


def fork_index(stream, index):
    return mix((mix(stream ^ 0x5851F42D4C957F2D) + index) & M64)


class Draws:
    """Stands where the package keeps its numpy RandomState; one word per random number."""

    def __init__(self):
        self.stream, self.next = fork_index(fork_name(0, "environment"), 0), 0

    def word(self):
        block, at = divmod(self.next, 4)
        if at == 0:
            self.words = philox([block & 0xFFFFFFFF, block >> 32, self.stream & 0xFFFFFFFF,
                                 self.stream >> 32], [SEED, 0])
        self.next += 1
        return self.words[at]

    def rand(self, n=None):
        if n is None:
            return (self.word() >> 8) * 2.0**-24
        return np.array([self.rand() for _ in range(n)])

    def randint(self, low, high=None, size=None):
        if high is None:
            low, high = 0, low
        if size is None:
            return low + (self.word() * (high - low) >> 32)
        return np.array([self.randint(low, high) for _ in range(size)])


def planes(env):
    return np.ascontiguousarray(env.state().transpose(2, 0, 1)).astype(np.uint8)


def plan(env, rng):
    """The action after which play on copies of the game, future random numbers included, goes best:
    hold an action for some steps, then play at random. So that later parts of the games are reached."""
    best, choice = -1e9, 0
    for action in range(6):
        for hold in (1, 4, 9):
            twin, score = clone(env), rng.random() * 0.01
            for depth in range(12):
                reward, done = twin.act(action if depth < hold else int(rng.integers(6)))
                score += reward
                if done:
                    score -= 10
                    break
            score += 0.5 * getattr(twin.env, "diver_count", 0)
            if score > best:
                best, choice = score, action
    return choice


def clone(env):
    twin = copy.copy(env)
    twin.env = copy.deepcopy(env.env)
    twin.random = twin.env.random
    return twin


def fnv(h, data):
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & M64
    return h


def trace(game):
    env, draws = Environment(game), Draws()
    env.random = env.env.random = draws
    env.reset()
    rng = np.random.default_rng(1)
    h = fnv(0xCBF29CE484222325, planes(env).tobytes())
    actions, hashes, returns = np.zeros(STEPS, np.uint8), np.zeros((STEPS, 2), np.uint8), [0.0]
    for t in range(STEPS):
        a = rng.integers(6)  # a quarter of the time
        if t // 500 % 4 != 3:
            a = 2 if game == "freeway" else plan(env, rng)
        reward, done = env.act(int(a))
        returns[-1] += reward
        h = fnv(h, bytes([int(reward) & 255, int(done)]) + planes(env).tobytes())
        if done:
            env.reset()
            returns.append(0.0)
            h = fnv(h, planes(env).tobytes())
        actions[t] = a
        hashes[t] = [h & 255, h >> 8 & 255]
    print(f"{game}: {len(returns) - 1} episodes, best return {max(returns):g}")
    return actions, hashes


def save(path, tensors):
    header, offset = {}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "U8", "shape": list(t.shape),
                        "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t.tobytes()
                                                                  for t in tensors.values()))


if __name__ == "__main__":
    tensors = {}
    for game in GAMES:
        tensors[f"{game}.actions"], tensors[f"{game}.hashes"] = trace(game)
    save(pathlib.Path(__file__).parent / "minatar.safetensors", tensors)
