// The verb play without a terminal: files and errors.
#include <concord/data/image.h>
#include <concord/experiments/verbs.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <cstring>

using namespace concord;
using namespace concord::experiments;

TEST_CASE("play: random actions, the last picture as PNG, all of them as GIF") {
  const testing::TemporaryFolder folder;
  const auto png = folder.path() / "last.png", gif = folder.path() / "all.gif";
  PlayOptions o{.environment = "catch", .assignments = {"rows=6"}, .random = true, .steps = 12};
  o.png = png;
  o.gif = gif;
  CHECK(play(o) == 0);
  const Tensor picture = data::load_image(png);
  CHECK(picture.shape() == Shape{3, 384, 320});  // 40 x 48 pixels, eight times
  const auto bytes = data::read_file(gif);
  REQUIRE(bytes.size() > 13);
  CHECK(std::memcmp(bytes.data(), "GIF89a", 6) == 0);
  CHECK(static_cast<int>(bytes[6]) + 256 * static_cast<int>(bytes[7]) == 320);
}

TEST_CASE("play: what does not exist") {
  const auto text = [](const PlayOptions& o) {
    return testing::error_text<ValueError>([&] { play(o); });
  };
  CHECK(text({.environment = "catch", .assignments = {"rows"}}) ==
        "play: --set has 'rows', expected name=value");
  CHECK(text({.environment = "katch"}).find("unknown environment 'katch'") == 0);
}
