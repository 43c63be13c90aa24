#!/usr/bin/env python3
"""concord's PPO and a loop in PyTorch in the manner of CleanRL's single files, same settings, side by side.

    pip install torch numpy gymnasium minatar
    python3 tests/bench/peers/ppo.py              (two minutes: steps per second, shares of time)
    python3 tests/bench/peers/ppo.py --learn 2    (CartPole to the end, seeds 1 and 2; about ten minutes)

The settings are those of `concord bench rl/ppo`. Environments are Gymnasium's, in its SyncVectorEnv;
MinAtar's are the package's own. As CleanRL does, a truncated episode counts as one that ended (concord
goes on from the value of its last state). Rates are those of the median iteration: T steps of all
environments and what is learned from them.
"""
import argparse
import collections
import json
import logging
import pathlib
import statistics
import subprocess
import time

logging.disable(logging.WARNING)  # minatar regrets that it cannot draw

import gymnasium
import minatar.gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn
from torch.distributions import Categorical

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "build" / "release" / "experiments" / "concord"
PHASES = ["environment", "acting", "forward", "backward", "optimizer", "other"]
GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, MAX_NORM, EPOCHS = 0.99, 0.95, 0.2, 0.01, 0.5, 0.5, 4


def layer(module, gain=2 ** 0.5):
    nn.init.orthogonal_(module.weight, gain)
    nn.init.zeros_(module.bias)
    return module


class SeparateMlps(nn.Module):
    """CartPole's: two tanh networks of 64-64."""

    def __init__(self, space, actions):
        super().__init__()

        def network(outputs, gain):
            return nn.Sequential(layer(nn.Linear(space.shape[0], 64)), nn.Tanh(), layer(nn.Linear(64, 64)),
                                 nn.Tanh(), layer(nn.Linear(64, outputs), gain))
        self.actor, self.critic = network(actions, 0.01), network(1, 1.0)

    def policy(self, x):
        return Categorical(logits=self.actor(x))

    def value(self, x):
        return self.critic(x).flatten()

    def forward(self, x):
        return self.policy(x), self.value(x)


class SharedConvolution(nn.Module):
    """MinAtar's: 16 channels of 3x3, 128 units, one trunk for policy and value."""

    def __init__(self, space, actions):
        super().__init__()
        self.trunk = nn.Sequential(layer(nn.Conv2d(space.shape[2], 16, 3)), nn.ReLU(), nn.Flatten(),
                                   layer(nn.Linear(16 * 8 * 8, 128)), nn.ReLU())
        self.actor, self.critic = layer(nn.Linear(128, actions), 0.01), layer(nn.Linear(128, 1), 1.0)

    def features(self, x):
        return self.trunk(x.permute(0, 3, 1, 2).float())

    def policy(self, x):
        return Categorical(logits=self.actor(self.features(x)))

    def value(self, x):
        return self.critic(self.features(x)).flatten()

    def forward(self, x):
        h = self.features(x)
        return Categorical(logits=self.actor(h)), self.critic(h).flatten()


# concord's row -> environment, environments, steps of each per iteration, minibatches, rate, network
CASES = {"cartpole": (lambda: gymnasium.make("CartPole-v1"), 4, 128, 4, 2.5e-4, SeparateMlps),
         "breakout": (lambda: minatar.gym.BaseEnv("breakout"), 64, 32, 8, 2.5e-3, SharedConvolution)}


class Stopwatch:
    def __init__(self):
        self.seconds, self.last = dict.fromkeys(PHASES, 0.0), time.perf_counter()

    def lap(self, phase):
        now = time.perf_counter()
        self.seconds[phase] += now - self.last
        self.last = now


def train(case, seed, total_steps, iterations=None):
    """The whole run of `total_steps`, or its first `iterations`: rate, shares, mean score of the last 100
    episodes and seconds."""
    make, n, steps, minibatches, rate, network = CASES[case]
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    envs = SyncVectorEnv([make] * n, autoreset_mode=AutoresetMode.SAME_STEP)
    space = envs.single_observation_space
    agent = network(space, int(envs.single_action_space.n))
    optimizer = torch.optim.Adam(agent.parameters(), lr=rate, eps=1e-5)

    seen = torch.zeros((steps, n) + space.shape, dtype=torch.tensor(space.sample()).dtype)
    actions = torch.zeros((steps, n), dtype=torch.int64)
    log_probs, rewards, dones, values = (torch.zeros((steps, n)) for _ in range(4))
    scores, running = collections.deque(maxlen=100), np.zeros(n)
    observation, done = torch.tensor(envs.reset(seed=seed)[0]), torch.zeros(n)
    count = total_steps // (n * steps)
    times, watch = [], Stopwatch()
    begin = time.perf_counter()
    for iteration in range(min(iterations or count, count)):
        start = watch.last = time.perf_counter()
        optimizer.param_groups[0]["lr"] = rate * (1 - iteration / count)
        for t in range(steps):
            seen[t], dones[t] = observation, done
            with torch.no_grad():
                policy, values[t] = agent(observation)
                actions[t] = policy.sample()
                log_probs[t] = policy.log_prob(actions[t])
            watch.lap("acting")
            observation, reward, terminated, truncated, _ = envs.step(actions[t].numpy())
            over = terminated | truncated
            running += reward
            scores.extend(running[over])
            running[over] = 0
            observation, rewards[t] = torch.from_numpy(observation), torch.from_numpy(reward)
            done = torch.from_numpy(over).float()
            watch.lap("environment")

        with torch.no_grad():
            next_value, next_going, advantage = agent.value(observation), 1 - done, 0
            advantages = torch.zeros((steps, n))
            for t in reversed(range(steps)):
                delta = rewards[t] + GAMMA * next_value * next_going - values[t]
                advantages[t] = advantage = delta + GAMMA * LAMBDA * next_going * advantage
                next_value, next_going = values[t], 1 - dones[t]
        batch = [x.flatten(0, 1) for x in (seen, actions, log_probs, advantages, advantages + values, values)]
        watch.lap("other")
        size = n * steps // minibatches
        for _ in range(EPOCHS):
            order = torch.from_numpy(rng.permutation(n * steps))
            for rows in order.split(size):
                x, a, old_log_prob, gain, target, old_value = (b[rows] for b in batch)
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                watch.lap("other")
                policy, value = agent(x)
                ratio = (policy.log_prob(a) - old_log_prob).exp()
                policy_loss = torch.max(-gain * ratio, -gain * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
                near = old_value + (value - old_value).clamp(-CLIP, CLIP)
                value_loss = 0.5 * torch.max((value - target) ** 2, (near - target) ** 2).mean()
                loss = policy_loss - ENTROPY * policy.entropy().mean() + VALUE * value_loss
                watch.lap("forward")
                optimizer.zero_grad()
                loss.backward()
                watch.lap("backward")
                nn.utils.clip_grad_norm_(agent.parameters(), MAX_NORM)
                optimizer.step()
                watch.lap("optimizer")
        times.append(time.perf_counter() - start)
    envs.close()
    spent = sum(watch.seconds.values())
    return {"steps_per_s": n * steps / statistics.median(times),
            "score": float(np.mean(scores)), "seconds": time.perf_counter() - begin,
            **{phase: seconds / spent for phase, seconds in watch.seconds.items()}}


def concord(program, threads):
    output = subprocess.run([program, "bench", "rl/ppo", "--json", "--threads", str(threads)], check=True,
                            capture_output=True, text=True).stdout
    return {row["name"]: row for row in json.loads(output)["results"]["rl/ppo"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default=PROGRAM, help="the concord program")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=30, help="of PyTorch's loop, for its rate")
    parser.add_argument("--learn", type=int, default=0, metavar="SEEDS", help="CartPole's 500,000 steps instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    ours = concord(options.program, options.threads)
    if options.learn:
        print("| CartPole, 500,000 steps | mean score of the last 100 episodes | seconds |\n|---|---|---|")
        for seed in range(1, options.learn + 1):
            r = train("cartpole", seed, 500_000)
            print(f"| PyTorch, seed {seed} | {r['score']:.1f} | {r['seconds']:.1f} |", flush=True)
        print(f"| concord, seed 1 | {ours['cartpole']['score']:.1f} | {ours['cartpole']['seconds']:.1f} |")
        return
    print(f"| | steps/s | ratio | {' | '.join(PHASES)} |\n|---|---|---|{'---|' * len(PHASES)}")
    for case in CASES:
        theirs = train(case, 1, 500_000, options.iterations)
        ratio = ours[case]["steps_per_s"] / theirs["steps_per_s"]
        for side, r, ratio_text in (("PyTorch", theirs, ""), ("concord", ours[case], f"{ratio:.1f}")):
            shares = " | ".join(f"{100 * r[phase]:.0f} %" for phase in PHASES)
            print(f"| {case}, {side} | {r['steps_per_s']:,.0f} | {ratio_text} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
