// MinAtar's Seaquest. A submarine shoots fish and enemy submarines (+1 each), picks up divers and
// must surface before its oxygen ends: with no diver aboard that is the end, with six it is
// rewarded by the oxygen left. With `ramp` enemies come and move faster after each surfacing.
#include <concord/rl/environments/minatar.h>

#include <algorithm>

namespace concord::rl {
namespace {

/// A list without memory of its own. Elements keep their order; equal ones are alike, and the first
/// of them is the one removed, as the reference does it, which decides who is looked at next.
template <class T, int N>
struct Few {
  std::array<T, N> items;
  std::int32_t size;

  T& operator[](int i) { return items[i]; }
  const T& operator[](int i) const { return items[i]; }
  void push(const T& item) {
    if (size < N) items[size++] = item;
  }
  void remove(T item) {
    T* const end = items.data() + size;
    T* const found = std::find(items.data(), end, item);
    std::copy(found + 1, end, found);
    --size;
  }
};

struct Seaquest {
  struct Shot {
    std::int8_t x, y, dx;
    friend bool operator==(const Shot&, const Shot&) = default;
  };
  /// A fish, an enemy submarine or a diver.
  struct Swimmer {
    std::int8_t x, y, dx, move_timer, shot_timer;
    friend bool operator==(const Swimmer&, const Swimmer&) = default;
  };
  // A swimmer crosses in at most 10 (kMoveSpeed + 1) = 60 steps and at most one enemy comes per
  // step; a shot crosses in 10 steps. So at most 61 enemies, 61 of their shots, two divers, three
  // shots.
  static constexpr int kMost = 64;
  struct State {
    Few<Shot, 8> shots;
    Few<Shot, kMost> enemy_shots;
    Few<Swimmer, kMost> fish, subs;
    Few<Swimmer, 8> divers;
    std::int32_t x, y, dx, oxygen, aboard, spawn_speed, spawn_timer, diver_timer, move_speed,
        ramp_index, shot_timer;
    std::uint8_t at_surface;
  };
  static constexpr const char* kName = "seaquest";
  inline static const std::vector<std::int32_t> kMinimal = {kNoop,  kLeft, kUp,
                                                            kRight, kDown, kFire};
  static constexpr std::array<Colour, 10> kColours = {kBlue,   kTeal,   kBlue, kGrey,  kRed,
                                                      kOrange, kPurple, kTeal, kGreen, kGreen};
  static constexpr int kFull = 200, kMostAboard = 6, kSpawnSpeed = 20, kDiverSpeed = 30;
  static constexpr int kMoveSpeed = 5, kFastestMove = 2, kShotInterval = 5, kEnemyShotInterval = 10;
  static constexpr int kDiverMove = 5;

  bool ramp;
  /// The reference takes one diver at every surfacing, also after the reward for six, which leaves
  /// -1: the next surfacing is free. false: the reward takes six, any other surfacing one.
  bool faithful;

  void reset(State& s, Draws&) const {
    s.shots.size = s.enemy_shots.size = s.fish.size = s.subs.size = s.divers.size = 0;
    s.x = 5;
    s.y = 0;
    s.dx = -1;
    s.oxygen = kFull;
    s.aboard = s.ramp_index = s.shot_timer = 0;
    s.spawn_speed = s.spawn_timer = kSpawnSpeed;
    s.diver_timer = kDiverSpeed;
    s.move_speed = kMoveSpeed;
    s.at_surface = true;
  }

  Outcome step(State& s, int action, Draws& draws) const {
    Outcome outcome;
    if (s.spawn_timer == 0) {
      spawn_enemy(s, draws);
      s.spawn_timer = s.spawn_speed;
    }
    if (s.diver_timer == 0) {
      const bool from_left = draws.uniform() < 0.5;
      s.divers.push(swimmer(from_left, 1 + draws.below(8), kDiverMove));
      s.diver_timer = kDiverSpeed;
    }
    act(s, action);
    move_shots(s, outcome);
    move_divers(s);
    move_enemies(s, s.subs, true, outcome);
    move_enemy_shots(s, outcome);
    move_enemies(s, s.fish, false, outcome);

    s.spawn_timer -= s.spawn_timer > 0;
    s.diver_timer -= s.diver_timer > 0;
    s.shot_timer -= s.shot_timer > 0;
    if (s.oxygen <= 0) outcome.terminated = true;
    if (s.y > 0) {
      --s.oxygen;
      s.at_surface = false;
    } else if (!s.at_surface) {
      if (s.aboard == 0) {
        outcome.terminated = true;
      } else {
        surface(s, outcome);
      }
    }
    return outcome;
  }

  static Swimmer swimmer(bool from_left, int y, int move_speed, int shot_interval = 0) {
    return {static_cast<std::int8_t>(from_left ? 0 : kSide - 1), static_cast<std::int8_t>(y),
            static_cast<std::int8_t>(from_left ? 1 : -1), static_cast<std::int8_t>(move_speed),
            static_cast<std::int8_t>(shot_interval)};
  }

  static void spawn_enemy(State& s, Draws& draws) {
    const bool from_left = draws.uniform() < 0.5;
    const bool is_sub = draws.uniform() < 1.0 / 3;
    const Swimmer enemy =
        swimmer(from_left, 1 + draws.below(8), s.move_speed, is_sub ? kEnemyShotInterval : 0);
    const auto blocks = [&](const auto& list) {
      return std::any_of(list.items.data(), list.items.data() + list.size,
                         [&](const Swimmer& o) { return o.y == enemy.y && o.dx != enemy.dx; });
    };
    if (blocks(s.fish) || blocks(s.subs)) return;
    (is_sub ? s.subs : s.fish).push(enemy);
  }

  static void act(State& s, int action) {
    if (action == kFire) {
      if (s.shot_timer > 0) return;
      s.shots.push({static_cast<std::int8_t>(s.x), static_cast<std::int8_t>(s.y),
                    static_cast<std::int8_t>(s.dx)});
      s.shot_timer = kShotInterval;
      return;
    }
    if (action == kLeft || action == kRight) s.dx = action == kRight ? 1 : -1;
    s.x = std::clamp(s.x + (action == kRight) - (action == kLeft), 0, kSide - 1);
    s.y = std::clamp(s.y + (action == kDown) - (action == kUp), 0, kSide - 2);
  }

  template <class T>
  static bool outside(const T& thing) {
    return thing.x < 0 || thing.x >= kSide;
  }
  template <class T>
  static bool meets(const State& s, const T& thing) {
    return thing.x == s.x && thing.y == s.y;
  }

  /// The first of the list at the shot's cell goes, and true is returned.
  template <class List, class T>
  static bool hit(List& list, const T& shot) {
    for (int i = 0; i < list.size; ++i) {
      if (list[i].x != shot.x || list[i].y != shot.y) continue;
      list.remove(list[i]);
      return true;
    }
    return false;
  }

  static void move_shots(State& s, Outcome& outcome) {
    for (int i = s.shots.size - 1; i >= 0; --i) {
      Shot& shot = s.shots[i];
      shot.x = static_cast<std::int8_t>(shot.x + shot.dx);
      if (outside(shot)) {
        s.shots.remove(shot);
      } else if (hit(s.fish, shot) || hit(s.subs, shot)) {
        s.shots.remove(shot);
        outcome.reward += 1;
      }
    }
  }

  static void move_divers(State& s) {
    for (int i = s.divers.size - 1; i >= 0; --i) {
      Swimmer& diver = s.divers[i];
      const auto picked_up = [&] {
        if (!meets(s, diver) || s.aboard >= kMostAboard) return false;
        s.divers.remove(diver);
        ++s.aboard;
        return true;
      };
      if (picked_up()) continue;
      if (diver.move_timer > 0) {
        --diver.move_timer;
        continue;
      }
      diver.move_timer = kDiverMove;
      diver.x = static_cast<std::int8_t>(diver.x + diver.dx);
      if (outside(diver)) {
        s.divers.remove(diver);
      } else {
        picked_up();
      }
    }
  }

  static void move_enemies(State& s, Few<Swimmer, kMost>& list, bool shoot, Outcome& outcome) {
    for (int i = list.size - 1; i >= 0; --i) {
      Swimmer& enemy = list[i];
      if (meets(s, enemy)) outcome.terminated = true;
      bool gone = false;
      if (enemy.move_timer == 0) {
        enemy.move_timer = static_cast<std::int8_t>(s.move_speed);
        enemy.x = static_cast<std::int8_t>(enemy.x + enemy.dx);
        if (outside(enemy)) {
          list.remove(enemy);
          gone = true;
        } else if (meets(s, enemy)) {
          outcome.terminated = true;
        } else if (hit(s.shots, enemy)) {
          list.remove(enemy);
          outcome.reward += 1;
          gone = true;
        }
      } else {
        --enemy.move_timer;
      }
      if (!shoot || gone) continue;
      if (enemy.shot_timer == 0) {
        enemy.shot_timer = kEnemyShotInterval;
        s.enemy_shots.push({enemy.x, enemy.y, enemy.dx});
      } else {
        --enemy.shot_timer;
      }
    }
  }

  static void move_enemy_shots(State& s, Outcome& outcome) {
    for (int i = s.enemy_shots.size - 1; i >= 0; --i) {
      Shot& shot = s.enemy_shots[i];
      if (meets(s, shot)) outcome.terminated = true;
      shot.x = static_cast<std::int8_t>(shot.x + shot.dx);
      if (outside(shot)) {
        s.enemy_shots.remove(shot);
      } else if (meets(s, shot)) {
        outcome.terminated = true;
      }
    }
  }

  static bool inside(const Shot& t) {
    return within(0, kSide - 1, t.x) && within(0, kSide - 2, t.y) && t.dx * t.dx == 1;
  }
  static bool inside(const Swimmer& t) {
    return within(0, kSide - 1, t.x) && within(1, kSide - 2, t.y) && t.dx * t.dx == 1 &&
           within(0, kMoveSpeed, t.move_timer) && within(0, kEnemyShotInterval, t.shot_timer);
  }
  template <class T, int N>
  static bool inside(const Few<T, N>& list) {
    return within(0, N, list.size) && std::all_of(list.items.data(), list.items.data() + list.size,
                                                  [](const T& t) { return inside(t); });
  }

  bool valid(const State& s) const {
    return inside(s.shots) && inside(s.enemy_shots) && inside(s.fish) && inside(s.subs) &&
           inside(s.divers) && within(0, kSide - 1, s.x) && within(0, kSide - 2, s.y) &&
           (s.dx == 1 || s.dx == -1) && within(0, kFull, s.oxygen) &&
           within(-1, kMostAboard, s.aboard) && within(1, kSpawnSpeed, s.spawn_speed) &&
           within(0, kSpawnSpeed, s.spawn_timer) && within(0, kDiverSpeed, s.diver_timer) &&
           within(kFastestMove, kMoveSpeed, s.move_speed) && within(0, kSpawnSpeed, s.ramp_index) &&
           within(0, kShotInterval, s.shot_timer);
  }

  static int gauge(int oxygen) { return oxygen * kSide / kFull; }

  void surface(State& s, Outcome& outcome) const {
    s.at_surface = true;
    if (s.aboard == kMostAboard) {
      outcome.reward += static_cast<float>(gauge(s.oxygen));
      s.aboard = faithful ? 0 : 1;
    }
    s.oxygen = kFull;
    --s.aboard;
    if (!ramp || (s.spawn_speed <= 1 && s.move_speed <= kFastestMove)) return;
    if (s.move_speed > kFastestMove && s.ramp_index % 2 == 1) --s.move_speed;
    if (s.spawn_speed > 1) --s.spawn_speed;
    ++s.ramp_index;
  }

  void observe(const State& s, std::uint8_t* out) const {
    std::memset(out, 0, 10 * kCells);
    const auto plane = [out](int p) { return out + p * kCells; };
    const auto put = [&](int p, int x, int y) { plane(p)[kSide * y + x] = 1; };
    put(0, s.x, s.y);
    if (s.x - s.dx >= 0 && s.x - s.dx < kSide) put(1, s.x - s.dx, s.y);
    for (int k = 0; k < gauge(s.oxygen); ++k) put(7, k, kSide - 1);
    for (int k = kSide - 1 - s.aboard; k < kSide - 1; ++k) put(8, k, kSide - 1);
    for (int i = 0; i < s.shots.size; ++i) put(2, s.shots[i].x, s.shots[i].y);
    for (int i = 0; i < s.enemy_shots.size; ++i) put(4, s.enemy_shots[i].x, s.enemy_shots[i].y);
    const auto put_all = [&](const auto& list, int p) {
      for (int i = 0; i < list.size; ++i) {
        const Swimmer& it = list[i];
        put(p, it.x, it.y);
        const int behind = it.x - it.dx;
        if (behind >= 0 && behind < kSide) put(3, behind, it.y);
      }
    };
    put_all(s.fish, 5);
    put_all(s.subs, 6);
    put_all(s.divers, 9);
  }
};

}  // namespace

EnvPtr make_seaquest(multitask::Options& options, const EnvCount& count) {
  const bool ramp = options.integer("ramp", 1, 0, 1) == 1;
  const bool faithful = options.integer("faithful", 1, 0, 1) == 1;
  return make_minatar(Seaquest{ramp, faithful}, options, count);
}

}  // namespace concord::rl
