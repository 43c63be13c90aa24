"""Episodes of the PyPI packages minigrid 3.2.0 and gymnasium: a level, actions, and what was seen.

    pip install minigrid==3.2.0 && python generate_minigrid.py

Writes minigrid.safetensors. Per episode k: `k.level` u8 [W,H,3] (the package's codes), `k.agent` u8
[6] (x, y, direction, max_steps' low and high byte, sees through walls), `k.actions` u8 [T], `k.hashes` u8 [T+1,2]: the lowest 16 bits
of a 64-bit FNV-1a hash that goes on with the first view and, after each step, with the reward (f32),
the end flag and the view as [3][row][column].
"""
import pathlib

import gymnasium
import minigrid  # noqa: F401
import numpy as np

from generate import fnv, save

LEVELS = ["Empty-8x8-v0", "FourRooms-v0", "DoorKey-8x8-v0", "DoorKey-5x5-v0",
          "SimpleCrossingS9N2-v0", "LavaGapS7-v0", "MultiRoom-N4-S5-v1", "MultiRoom-N6-v0"]


def view(obs):
    return np.ascontiguousarray(obs["image"].transpose(2, 1, 0)).tobytes()


def choose(env, rng):
    """Random, but curious: takes keys, opens doors, seldom drops or shuts."""
    ahead = env.grid.get(*env.front_pos)
    if ahead is not None and rng.random() < 0.8:
        if ahead.type == "key":
            return 3
        if ahead.type == "door" and not ahead.is_open:
            return 5 if rng.random() < 0.7 else 2
    return int(rng.choice(7, p=[0.17, 0.17, 0.54, 0.03, 0.03, 0.03, 0.03]))


def main():
    tensors, ends = {}, 0
    for name in LEVELS:
        env = gymnasium.make("MiniGrid-" + name).unwrapped
        for seed in range(3):
            rng = np.random.default_rng(seed)
            obs, _ = env.reset(seed=seed)
            k = len(tensors) // 4
            tensors[f"{k}.level"] = env.grid.encode()
            tensors[f"{k}.agent"] = np.array(
                [*env.agent_pos, env.agent_dir, env.max_steps & 255, env.max_steps >> 8,
                 env.see_through_walls], np.uint8)
            h = fnv(0xCBF29CE484222325, view(obs))
            actions, hashes = [], [[h & 255, h >> 8 & 255]]
            for _ in range(min(env.max_steps, 400)):
                actions.append(choose(env, rng))
                obs, reward, done, _, _ = env.step(actions[-1])
                h = fnv(h, np.float32(reward).tobytes() + bytes([done]) + view(obs))
                hashes.append([h & 255, h >> 8 & 255])
                if done:
                    break
            ends += done
            tensors[f"{k}.actions"] = np.array(actions, np.uint8)
            tensors[f"{k}.hashes"] = np.array(hashes, np.uint8)
    print(f"{len(tensors) // 4} episodes, {ends} ended at goal or lava")
    save(pathlib.Path(__file__).parent / "minigrid.safetensors", tensors)


if __name__ == "__main__":
    main()
