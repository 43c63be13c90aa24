#include <concord/experiments/progress.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>

namespace concord::experiments {

namespace {

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::milliseconds kLines{30'000};

Progress::Style style_of(bool quiet, std::FILE* out) {
  if (quiet) return Progress::Style::quiet;
  return ::isatty(::fileno(out)) ? Progress::Style::terminal : Progress::Style::lines;
}

std::size_t width_of(std::FILE* out) {
  winsize size{};
  if (::ioctl(::fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int number) {
  stop = true;
  std::signal(number, SIG_DFL);
}

}  // namespace

Progress::Progress(bool quiet, std::FILE* out)
    : Progress(style_of(quiet, out), out, style_of(quiet, out) == Style::lines ? kLines : kRedraw) {
}

Progress::Progress(Style style, std::FILE* out, std::chrono::milliseconds between_lines)
    : style_(style), out_(out), between_(between_lines), started_(Clock::now()), drawn_(started_) {}

Progress::~Progress() { end(); }

void Progress::begin(std::int64_t total, std::int64_t done, std::string_view unit) {
  total_ = total;
  done_ = done_before_ = done;
  unit_ = unit;
  started_ = drawn_ = Clock::now();
}

void Progress::part(std::string text) {
  part_ = std::move(text);
  note_.clear();
  draw(style_ == Style::terminal);
}

void Progress::note(std::string text) {
  note_ = std::move(text);
  draw(style_ == Style::terminal);
}

void Progress::advance(std::int64_t units) {
  done_ += units;
  draw(false);
}

void Progress::line(std::string_view text) {
  if (style_ == Style::quiet) return;
  end();
  fmt::print(out_, "{}\n", text);
  std::fflush(out_);
}

void Progress::end() {
  if (!on_screen_) return;
  fmt::print(out_, "\r\x1b[K");
  std::fflush(out_);
  on_screen_ = false;
}

double Progress::units_per_second() const {
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  return seconds > 0 ? static_cast<double>(done_ - done_before_) / seconds : 0;
}

std::string Progress::status() const {
  std::string text = part_;
  const auto add = [&](const std::string& s) {
    if (!text.empty()) text += "   ";
    text += s;
  };
  if (total_ > 0) add(fmt::format("{} %", 100 * std::min(done_, total_) / total_));
  if (const double rate = units_per_second(); rate > 0) {
    add(fmt::format("{} {}/s", with_commas(std::llround(rate)), unit_));
    if (total_ > done_) add(duration(static_cast<double>(total_ - done_) / rate) + " left");
  }
  if (!note_.empty()) add(note_);
  return text;
}

void Progress::draw(bool at_once) {
  if (style_ == Style::quiet) return;
  const auto now = Clock::now();
  if (!at_once && now - drawn_ < between_) return;
  drawn_ = now;
  if (style_ == Style::lines) {
    fmt::print(out_, "{}\n", status());
  } else {
    // The texts are ASCII: bytes are columns.
    fmt::print(out_, "\r\x1b[K{}", status().substr(0, width_of(out_) - 1));
    on_screen_ = true;
  }
  std::fflush(out_);
}

StopOnSignal::StopOnSignal() {
  stop = false;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

StopOnSignal::~StopOnSignal() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool stop_requested() { return stop; }

std::string duration(double seconds) {
  const auto s = static_cast<std::int64_t>(std::ceil(std::clamp(seconds, 0.0, 1e9)));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string with_commas(std::int64_t n) {
  std::string digits = fmt::format("{}", n);
  for (auto i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > (n < 0 ? 1 : 0); i -= 3) {
    digits.insert(static_cast<std::size_t>(i), 1, ',');
  }
  return digits;
}

}  // namespace concord::experiments
