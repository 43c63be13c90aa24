#include <concord/experiments/json.h>
#include <concord/tensor/check.h>
#include <doctest/doctest.h>

#include <cmath>

#include "../testing.h"

using namespace concord;
using namespace concord::experiments;
using concord::testing::error_text;

TEST_CASE("json: values, order and bits survive a round trip") {
  const Json json = Json::object({{"z", 1},
                                  {"a", Json::Array{0.1, true, Json(), "text \"quoted\" ü"}},
                                  {"big", std::int64_t{1} << 62},
                                  {"third", 1.0 / 3}});
  const std::string line = json.dump(-1);
  CHECK(
      line ==
      R"({"z":1,"a":[0.1,true,null,"text \"quoted\" ü"],"big":4611686018427387904,"third":0.3333333333333333})");
  CHECK(Json::parse(line) == json);
  CHECK(Json::parse(json.dump()) == json);
}

TEST_CASE("json: a number that is not finite becomes null") {
  CHECK(Json(std::nan("")).dump() == "null");
}

TEST_CASE("json: errors by exact text") {
  const Json json = Json::object({{"name", "x"}});
  CHECK(error_text<ValueError>([&] { json["name"].as<bool>("name"); }) ==
        "json: 'name' is a text, expected a true or false");
  CHECK(error_text<ValueError>([&] { json["missing"]; }) == "json: there is no 'missing'");
  CHECK(error_text<ValueError>([&] { Json::parse("{\"a\": }"); }).substr(0, 41) ==
        "json: parse error at line 1, column 7: sy");
}

TEST_CASE("json: hostile nesting is an error, not a crash") {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(Json::parse(nested(64)).dump(-1) == nested(64));
  CHECK(error_text<ValueError>([&] { Json::parse(nested(65)); }) ==
        "json: nested deeper than 64 levels");
  CHECK(error_text<ValueError>([&] { Json::parse(std::string(10'000'000, '[')); }) ==
        "json: nested deeper than 64 levels");
}
