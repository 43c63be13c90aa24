#include <concord/experiments/progress.h>
#include <doctest/doctest.h>

#include <csignal>
#include <memory>

using namespace concord::experiments;

namespace {

/// What the object wrote, with `between` milliseconds between lines.
template <class F>
std::string written(Progress::Style style, int between, F&& f) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  {
    Progress progress(style, file.get(), std::chrono::milliseconds(between));
    f(progress);
  }
  std::string text(static_cast<std::size_t>(std::ftell(file.get())), ' ');
  std::rewind(file.get());
  CHECK(std::fread(text.data(), 1, text.size(), file.get()) == text.size());
  return text;
}

}  // namespace

TEST_CASE("progress: durations and numbers as people read them") {
  CHECK(duration(0) == "0:00");
  CHECK(duration(6.2) == "0:07");
  CHECK(duration(3909) == "1:05:09");
  CHECK(duration(-1) == "0:00");
  CHECK(with_commas(0) == "0");
  CHECK(with_commas(999) == "999");
  CHECK(with_commas(1234567) == "1,234,567");
  CHECK(with_commas(-1234) == "-1,234");
  CHECK(with_commas(-123) == "-123");
}

TEST_CASE("progress: no terminal gets lines, and not one per step") {
  const std::string text = written(Progress::Style::lines, 1'000'000, [](Progress& progress) {
    progress.begin(1000);
    progress.part("equal, seed 1 of 2");
    for (int i = 0; i < 1000; ++i) progress.advance(1);
    progress.line("equal, seed 1: 87 %");
  });
  CHECK(text == "equal, seed 1: 87 %\n");
  const std::string often = written(Progress::Style::lines, 0, [](Progress& progress) {
    progress.begin(200, 100);
    progress.advance(50);
  });
  CHECK(often.substr(0, 7) == "75 %   ");
  CHECK(often.find("images/s") != std::string::npos);
  CHECK(often.find(" left\n") != std::string::npos);
  CHECK(often.find('\r') == std::string::npos);
}

TEST_CASE("progress: a terminal's line is taken away, and quiet is quiet") {
  const auto work = [](Progress& progress) {
    progress.begin(10);
    progress.part("mgda");
    progress.advance(10);
  };
  const std::string text = written(Progress::Style::terminal, 0, work);
  CHECK(text.substr(0, 4) == "\r\x1b[K");
  CHECK(text.substr(text.size() - 4) == "\r\x1b[K");
  CHECK(text.find("mgda   100 %") != std::string::npos);
  CHECK(written(Progress::Style::quiet, 0, work).empty());
}

TEST_CASE("progress: a signal sets the flag, and only while it is watched") {
  {
    const StopOnSignal guard;
    CHECK_FALSE(stop_requested());
    std::raise(SIGTERM);
    CHECK(stop_requested());
  }
  const StopOnSignal next;
  CHECK_FALSE(stop_requested());
}
