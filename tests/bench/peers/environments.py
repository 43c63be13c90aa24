#!/usr/bin/env python3
"""concord's environments and the Python packages they stand for, alone and side by side.

    pip install minatar minigrid gymnasium
    python3 tests/bench/peers/environments.py       (a minute)

Steps per second of one core under random actions drawn beforehand. concord steps 256 environments at
a time (`concord bench rl/environments`); the packages have one environment each, and their time
includes making the observation, as their step does (MinAtar: state()). The best of `--rounds` counts.
"""
import argparse
import json
import pathlib
import subprocess
import time

import gymnasium
import minatar
import minigrid  # noqa: F401
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "build" / "release" / "experiments" / "concord"

# concord's row -> the package's environment
GYMNASIUM = {"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1"}
MINIGRID = {"minigrid_empty": "MiniGrid-Empty-8x8-v0", "minigrid_four_rooms": "MiniGrid-FourRooms-v0",
            "minigrid_door_key": "MiniGrid-DoorKey-8x8-v0",
            "minigrid_simple_crossing": "MiniGrid-SimpleCrossingS9N1-v0",
            "minigrid_lava_gap": "MiniGrid-LavaGapS7-v0",
            "minigrid_multi_room": "MiniGrid-MultiRoom-N4-S5-v1"}
MINATAR = ["breakout", "asterix", "freeway", "seaquest", "space_invaders"]


def rate(step, seconds):
    count, begin = 0, time.perf_counter()
    while (now := time.perf_counter() - begin) < seconds:
        for _ in range(100):
            step()
        count += 100
    return count / now


def gymnasium_step(name):
    env = gymnasium.make(name).unwrapped  # without the wrappers that check and count
    env.reset(seed=1)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    rng = np.random.default_rng(1)
    actions = rng.integers(env.action_space.n, size=4096) if discrete else \
        rng.uniform(-2, 2, size=(4096, 1)).astype(np.float32)
    state = {"t": 0}

    def step():
        state["t"] += 1
        _, _, terminated, truncated, _ = env.step(actions[state["t"] % 4096])
        if terminated or truncated or (name in GYMNASIUM.values() and state["t"] % 500 == 0):
            env.reset()
    return step


def minatar_step(game):
    env = minatar.Environment(game)
    env.reset()
    actions = np.random.default_rng(1).integers(6, size=4096)
    state = {"t": 0}

    def step():
        state["t"] += 1
        _, terminated = env.act(actions[state["t"] % 4096])
        if terminated:
            env.reset()
        env.state()
    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default=PROGRAM, help="the concord program")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1, help="per package environment and round")
    options = parser.parse_args()

    peers = {name: ("gymnasium", gymnasium_step(env)) for name, env in GYMNASIUM.items()}
    peers |= {name: ("minatar", minatar_step(name)) for name in MINATAR}
    peers |= {name: ("minigrid", gymnasium_step(env)) for name, env in MINIGRID.items()}
    ours, theirs = {}, {}
    for _ in range(options.rounds):
        output = subprocess.run([options.program, "bench", "rl/environments", "--json", "--threads", "1"],
                                check=True, capture_output=True, text=True).stdout
        for row in json.loads(output)["results"]["rl/environments"]:
            ours[row["name"]] = max(ours.get(row["name"], 0), row["steps_per_s"])
        for name, (_, step) in peers.items():
            theirs[name] = max(theirs.get(name, 0), rate(step, options.seconds))

    print("| environment | concord, steps/s | package, steps/s | ratio |\n|---|---|---|---|")
    for name, (package, _) in peers.items():
        print(f"| {name} | {ours[name]:,.0f} | {package} {theirs[name]:,.0f} "
              f"| {ours[name] / theirs[name]:,.0f} |")


if __name__ == "__main__":
    main()
