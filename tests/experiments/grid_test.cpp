#include <concord/experiments/grid.h>
#include <concord/tensor/check.h>
#include <doctest/doctest.h>

#include "../testing.h"

using namespace concord;
using namespace concord::experiments;
using concord::testing::error_text;

TEST_CASE("grid: axes, values with commas, all combinations") {
  const auto axes = parse_grid("lr=1e-3:3e-3,constant.w=1,0.5:0.5,1:2,2,schedule=cosine");
  REQUIRE(axes.size() == 3);
  CHECK(axes[0].values == std::vector<std::string>{"1e-3", "3e-3"});
  CHECK(axes[1].setting == "constant.w");
  CHECK(axes[1].values == std::vector<std::string>{"1,0.5", "0.5,1", "2,2"});
  const auto points = points_of(axes);
  REQUIRE(points.size() == 6);
  CHECK(to_string(points[1]) == "lr=1e-3 constant.w=0.5,1 schedule=cosine");
  CHECK(to_string(points[3]) == "lr=3e-3 constant.w=1,0.5 schedule=cosine");
  CHECK(points_of(parse_grid("")).size() == 1);
  CHECK(to_string(GridPoint{}) == "-");
}

TEST_CASE("grid: errors by exact text") {
  const auto error = [](const char* text) {
    return error_text<ValueError>([&] { parse_grid(text); });
  };
  CHECK(error("lr") == "grid: 'lr', expected name=value:value, with commas between names");
  CHECK(error("=1") == "grid: '=1', expected name=value:value, with commas between names");
  CHECK(error("lr=1:1") == "grid: lr has the value '1' twice, expected values, each once");
  CHECK(error("lr=1:") == "grid: lr has the value '' (nothing), expected values, each once");
  CHECK(error("lr=1,lr=2") == "grid: lr is named twice, expected each setting once");
}
