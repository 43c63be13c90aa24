// The verbs play and watch: an environment in the terminal, moved by keys, by chance or by a
// trained policy; its pictures as files.
#include <concord/data/files.h>
#include <concord/data/image.h>
#include <concord/experiments/settings.h>
#include <concord/experiments/trained.h>
#include <concord/experiments/verbs.h>
#include <concord/rl/registry.h>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

namespace concord::experiments {

namespace {

constexpr int kMostFrames = 2000;   // of a GIF
constexpr int kFrameTime = 10;      // hundredths of a second
constexpr int kPictureWidth = 320;  // at least half of this in files

/// Keys one by one, without echo, on a screen of its own; the terminal is as before at the end.
class KeyReader {
 public:
  KeyReader() {
    ::tcgetattr(STDIN_FILENO, &before_);
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
    fmt::print("\x1b[?1049h\x1b[?25l");
  }
  ~KeyReader() {
    std::fputs("\x1b[?25h\x1b[?1049l", stdout);
    std::fflush(stdout);
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  KeyReader(const KeyReader&) = delete;
  KeyReader& operator=(const KeyReader&) = delete;

  /// One key; arrows are "up", "down", "left", "right". Empty at the end of the input.
  std::string next() {
    std::string bytes = one();
    if (bytes != "\x1b") return bytes;
    bytes += one() + one();  // an arrow is ESC [ A to D
    for (const auto& [code, name] :
         {std::pair{"\x1b[A", "up"}, {"\x1b[B", "down"}, {"\x1b[C", "right"}, {"\x1b[D", "left"}})
      if (bytes == code) return name;
    return bytes;
  }

 private:
  static std::string one() {
    char c = 0;
    return ::read(STDIN_FILENO, &c, 1) == 1 ? std::string(1, c) : std::string();
  }

  termios before_{};
};

/// The action that a key stands for: arrows the one of that name or nearest to it, digits by
/// number.
std::optional<int> action_of(const std::string& key, const std::vector<std::string>& names) {
  static const std::pair<const char*, const char*> kMeanings[] = {
      {"left", "left"},        {"left", "turn left"}, {"left", "back"}, {"right", "right"},
      {"right", "turn right"}, {"right", "forward"},  {"up", "up"},     {"up", "forward"},
      {"down", "down"},        {" ", "fire"},         {" ", "toggle"},  {"p", "pick up"},
      {"d", "drop"},           {".", "noop"},         {".", "stay"},    {".", "done"}};
  for (const auto& [pressed, meaning] : kMeanings) {
    if (key != pressed) continue;
    const auto found = std::find(names.begin(), names.end(), meaning);
    if (found != names.end()) return static_cast<int>(found - names.begin());
  }
  if (key.size() == 1 && key[0] >= '0' && key[0] - '0' < static_cast<int>(names.size()))
    return key[0] - '0';
  return std::nullopt;
}

std::string key_help(const rl::ActionSpec& action) {
  if (action.count == 0) return "left, right: push; any other key: nothing";
  std::string text;
  for (std::size_t a = 0; a < action.names.size(); ++a)
    text += fmt::format("{}{} {}", a == 0 ? "" : "  ", a, action.names[a]);
  return text + "\narrows, space, . as their names say";
}

/// Every which pixel to show so that the picture fits the terminal.
int coarseness(const rl::Canvas& picture) {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 1;
  const int columns = size.ws_col, rows = std::max(2 * (size.ws_row - 5), 2);
  return std::max(
      {1, (picture.width() + columns - 1) / columns, (picture.height() + rows - 1) / rows});
}

class Game {
 public:
  explicit Game(const PlayOptions& o)
      : env_(rl::make_env(o.environment, {.size = 1, .seed = o.seed},
                          options_from("play", o.assignments))),
        out_(env_->buffers()),
        actions_(env_->actions()),
        draws_(Rng(o.seed).fork("play")),
        record_(!o.gif.empty()) {
    env_->reset(out_.observation);
    remember();
  }

  const rl::ActionSpec& action() const { return env_->spec().action; }
  rl::Canvas picture() const { return env_->render(0); }
  double episode() const { return sum_; }
  const std::vector<double>& finished() const { return finished_; }
  const std::vector<rl::Canvas>& frames() const { return frames_; }

  void act_at_random() {
    const rl::ActionSpec& a = action();
    if (a.count > 0)
      act(draws_.below(static_cast<int>(a.count)));
    else
      push(static_cast<float>(draws_.uniform(a.low, a.high)));
  }
  void act(int action) {
    actions_.fill(action);
    step();
  }
  void push(float value) {
    actions_.fill(value);
    step();
  }

 private:
  void step() {
    env_->step(actions_, out_);
    sum_ += out_.reward.item();
    if (out_.terminated.item() != 0 || out_.truncated.item() != 0) {
      finished_.push_back(sum_);
      sum_ = 0;
    }
    remember();
  }
  void remember() {
    if (record_ && frames_.size() < kMostFrames) frames_.push_back(picture());
  }

  rl::EnvPtr env_;
  rl::StepBuffers out_;
  Tensor actions_;
  rl::Draws draws_;
  bool record_;
  double sum_ = 0;
  std::vector<double> finished_;
  std::vector<rl::Canvas> frames_;
};

void play_by_keys(Game& game) {
  KeyReader keys;
  const rl::ActionSpec& a = game.action();
  for (;;) {
    const rl::Canvas picture = game.picture();
    fmt::print("\x1b[H{}return {:g}, {} episode{} finished\x1b[K\n{}\nq: quit\x1b[J\n",
               picture.ansi(coarseness(picture)), game.episode(), game.finished().size(),
               game.finished().size() == 1 ? "" : "s", key_help(a));
    std::fflush(stdout);
    const std::string key = keys.next();
    if (key.empty() || key == "q" || key == "\x03" || key == "\x04") return;
    if (a.count == 0) {
      game.push(static_cast<float>(key == "left" ? a.low : key == "right" ? a.high : 0));
    } else if (const auto chosen = action_of(key, a.names)) {
      game.act(*chosen);
    }
  }
}

rl::Canvas enlarged(const rl::Canvas& picture) {
  return picture.scaled(std::max(1, kPictureWidth / picture.width()));
}

void save_pictures(const std::filesystem::path& png, const std::filesystem::path& gif,
                   const rl::Canvas& last, const std::vector<rl::Canvas>& all) {
  if (!png.empty()) data::save_png(png, enlarged(last).image());
  if (gif.empty()) return;
  std::vector<rl::Canvas> frames;
  for (const rl::Canvas& frame : all) frames.push_back(enlarged(frame));
  data::write_file(gif, rl::encode_gif(frames, kFrameTime));
}

void print_returns(const std::vector<double>& finished, double running) {
  double sum = 0;
  for (const double r : finished) sum += r;
  const auto n = finished.size();
  if (n > 0)
    fmt::print("{} episode{}, mean return {:g}\n", n, n == 1 ? "" : "s",
               sum / static_cast<double>(n));
  else
    fmt::print("no episode finished, return so far {:g}\n", running);
}

}  // namespace

int play(const PlayOptions& o) {
  Game game(o);
  if (o.random || !::isatty(STDIN_FILENO) || !::isatty(STDOUT_FILENO)) {
    for (int t = 0; t < o.steps; ++t) game.act_at_random();
  } else {
    play_by_keys(game);
  }
  save_pictures(o.png, o.gif, game.picture(), game.frames());
  print_returns(game.finished(), game.episode());
  return 0;
}

int watch(const WatchOptions& o, std::span<const Experiment> all) {
  const RunFolder folder = RunFolder::open(o.run);
  const Experiment& experiment = find_experiment(folder.experiment(), all);
  if (experiment.trained == nullptr)
    throw ValueError(
        fmt::format("watch: the policies of {} do not play, expected a run of an "
                    "experiment that keeps agents, such as minatar",
                    experiment.name));
  Trained trained = experiment.trained(folder, o.policy, o.seed);
  const bool live = ::isatty(STDOUT_FILENO) != 0;
  const StopOnSignal guard;  // the cursor comes back also after Ctrl-C
  std::vector<rl::Canvas> frames;
  std::optional<rl::Canvas> last;
  std::vector<double> finished;
  double running = 0;
  if (live) fmt::print("\x1b[?1049h\x1b[?25l");
  play_trained(trained, o.steps, [&](const Watched& w) {
    last = w.picture;
    if (!o.gif.empty() && frames.size() < kMostFrames) frames.push_back(w.picture);
    running = w.ended ? 0 : w.score;
    if (w.ended) finished.push_back(w.score);
    if (live) {
      fmt::print("\x1b[H{}{}: return {:g}, {} finished\x1b[K\nCtrl-C: quit\x1b[J\n",
                 w.picture.ansi(coarseness(w.picture)), trained.name, w.score, finished.size());
      std::fflush(stdout);
      std::this_thread::sleep_for(std::chrono::milliseconds(10 * kFrameTime));
    }
    return !stop_requested();
  });
  if (live) fmt::print("\x1b[?25h\x1b[?1049l");
  save_pictures(o.png, o.gif, *last, frames);
  fmt::print("{}: ", trained.name);
  print_returns(finished, running);
  return 0;
}

}  // namespace concord::experiments
