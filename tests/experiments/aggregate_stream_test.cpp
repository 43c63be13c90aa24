// Methods as a stream of JSON lines: the same numbers as in memory, state per key, hostile input.
#include <concord/experiments/aggregate_stream.h>
#include <concord/tensor/check.h>
#include <doctest/doctest.h>

#include <sstream>

using namespace concord;
using namespace concord::experiments;

namespace {

/// The answers to lines of text.
std::vector<Json> answers(const std::string& lines) {
  std::istringstream in(lines);
  std::ostringstream out;
  aggregate_stream(in, out);
  std::vector<Json> parsed;
  std::istringstream text(out.str());
  for (std::string line; std::getline(text, line);) parsed.push_back(Json::parse(line));
  return parsed;
}

std::string error_of(const std::string& line) {
  const auto all = answers(line);
  REQUIRE(all.size() == 1);
  return all[0]["error"].as<std::string>();
}

std::vector<double> numbers(const Json& list) {
  std::vector<double> values;
  for (const Json& v : list.as<Json::Array>()) values.push_back(v.number());
  return values;
}

const std::vector<double> kMatrix = {3, 4, 0, -4, 3, 1};
const std::string kRows = "[[3, 4, 0], [-4, 3, 1]]";

}  // namespace

TEST_CASE("stream: every method answers as it does in memory, from the matrix or its products") {
  const std::vector<double> jacobian = {3, 4, 0, -4, 3, 1, 2, 2, -1, 0, 1, 5, -2, 1, 2};
  const std::string rows = "[[3,4,0],[-4,3,1],[2,2,-1],[0,1,5],[-2,1,2]]";
  const std::string products =
      "[[25,0,14,4,-2],[0,26,-3,8,13],[14,-3,9,-3,-4],[4,8,-3,26,11],[-2,13,-4,11,9]]";
  const std::vector<double> losses = {1.5, 0.5, 1, 2, 0.25};
  for (const auto& m : multitask::methods()) {
    CAPTURE(m.name);
    const bool constant = m.name == "constant";  // has no default weights
    const auto method = multitask::make_aggregator(
        m.name, constant ? multitask::OptionMap{{"w", "1,2,3,4,5"}} : multitask::OptionMap{});
    const multitask::AggregateResult expected = multitask::aggregate(
        *method, jacobian, 5, 3, {.losses = losses, .rng = Rng(3).fork(m.name)});
    const std::string request = R"({"method": ")" + std::string(m.name) +
                                R"(", "losses": [1.5, 0.5, 1, 2, 0.25], "seed": 3, "id": "x", )" +
                                (constant ? R"("options": {"w": [1, 2, 3, 4, 5]}, )" : "");
    const auto all = answers(request + R"("matrix": )" + rows + "}\n" + request + R"("gram": )" +
                             products + "}");
    REQUIRE(all.size() == 2);
    CHECK(numbers(all[0]["direction"]) == expected.direction);
    CHECK(numbers(all[0]["gram"].as<Json::Array>()[1]) == std::vector<double>{0, 26, -3, 8, 13});
    CHECK(all[0]["id"].as<std::string>() == "x");
    CHECK(all[0]["note"].as<std::string>() == expected.note);
    if (method->needs_elements()) {
      CHECK(all[1]["error"].as<std::string>().find("works on its elements") != std::string::npos);
    } else {
      CHECK(all[1]["weights"] == all[0]["weights"]);
      CHECK(all[1]["direction"] == Json());
    }
  }
}

TEST_CASE("stream: options are texts, numbers or lists of numbers") {
  const auto weights = [](const std::string& request) {
    return numbers(answers(request)[0]["weights"]);
  };
  CHECK(weights(R"({"method": "constant", "options": {"w": [0.5, 2]}, "matrix": [[1], [2]]})") ==
        std::vector<double>{0.5, 2});
  CHECK(weights(R"({"method": "constant", "options": {"w": "0.5,2"}, "matrix": [[1], [2]]})") ==
        std::vector<double>{0.5, 2});
  CHECK(weights(R"({"method": "single", "options": {"task": 1}, "matrix": [[1], [2]]})") ==
        std::vector<double>{0, 1});
  CHECK(
      weights(
          R"({"method": "single", "options": {"task": 5}, "tasks": [2, 5], "matrix": [[1], [2]]})") ==
      std::vector<double>{0, 1});
}

TEST_CASE("stream: a key keeps its state, others have their own, forgotten ones begin again") {
  const multitask::OptionMap options = {{"beta", "0.5"}};
  const auto method = multitask::make_aggregator("gradvac", options);
  std::vector<std::vector<double>> expected;
  for (std::int64_t step = 0; step < 3; ++step) {
    expected.push_back(multitask::aggregate(
                           *method, std::vector<double>{1, 0, -1, 1.0 + static_cast<double>(step)},
                           2, 2, {.step = step, .rng = Rng(0).fork("gradvac")})
                           .weights);
  }
  const auto request = [](const std::string& key, int step, bool first = false) {
    return R"({"key": ")" + key + R"(", )" +
           (first ? R"("method": "gradvac", "options": {"beta": 0.5}, )" : "") +
           R"("matrix": [[1, 0], [-1, )" + std::to_string(1 + step) + "]]}\n";
  };
  const auto all =
      answers(request("a", 0, true) + request("b", 0, true) + request("a", 1) + "broken\n" +
              request("a", 2) + request("b", 1) + "{\"key\": \"a\", \"forget\": true}\n" +
              request("a", 0, true) + "{\"key\": \"c\", \"forget\": true}\n");
  REQUIRE(all.size() == 9);
  CHECK(numbers(all[0]["weights"]) == expected[0]);
  CHECK(numbers(all[1]["weights"]) == expected[0]);
  CHECK(numbers(all[2]["weights"]) == expected[1]);
  CHECK(all[3].find("error") != nullptr);
  CHECK(numbers(all[4]["weights"]) == expected[2]);
  CHECK(numbers(all[5]["weights"]) == expected[1]);
  CHECK(all[6]["key"].as<std::string>() == "a");
  CHECK(numbers(all[7]["weights"]) == expected[0]);
  CHECK(all[8]["error"].as<std::string>() ==
        "line 9: there is no object of this key, expected a request with it before");
  CHECK(expected[2] != expected[1]);
}

TEST_CASE("stream: losses after the step reach the method") {
  const auto famo = multitask::make_aggregator("famo");
  const std::vector<double> losses = {2, 3}, after = {1, 3};
  multitask::aggregate(*famo, kMatrix, 2, 3, {.losses = losses, .rng = Rng(0).fork("famo")});
  famo->after_step(after);
  const auto second = multitask::aggregate(
      *famo, kMatrix, 2, 3, {.losses = losses, .step = 1, .rng = Rng(0).fork("famo")});
  const std::string step =
      R"({"key": 1, "method": "famo", "losses": [2, 3], "matrix": )" + kRows + "}\n";
  CHECK(answers(step)[0]["error"].as<std::string>() ==
        "line 1: json: 'key' is a whole number, expected a text");
  const std::string good =
      R"({"key": "1", "method": "famo", "losses": [2, 3], "matrix": )" + kRows + "}\n";
  const auto all = answers(good + R"({"key": "1", "losses_after": [1, 3]})" + "\n" + good);
  CHECK(numbers(all[2]["weights"]) == second.weights);
}

TEST_CASE("stream: errors name the line and what was expected, and the stream goes on") {
  CHECK(error_of(R"({"method": "pcgrd", "matrix": [[1]]})")
            .starts_with("line 1: unknown method 'pcgrd'\n  nearest  pcgrad"));
  CHECK(error_of("\n \n{\"method\": \"mean\"}") ==
        "line 3: a request has either a matrix or a gram");
  CHECK(error_of(R"({"method": "mean", "matrix": [[1, 2], [3]]})") ==
        "line 1: matrix row 1 has 1 numbers, expected as many as row 0 (2), at least 1");
  CHECK(error_of(R"({"method": "mean", "matrix": [[], []]})") ==
        "line 1: matrix row 0 has 0 numbers, expected as many as row 0 (0), at least 1");
  CHECK(error_of(R"({"method": "mean", "matrix": []})") ==
        "line 1: matrix has 0 rows, expected one per task");
  CHECK(error_of(R"({"method": "mean", "matrix": [[1, null]]})") ==
        "line 1: json: 'matrix row 0' is a null, expected a number");
  CHECK(error_of(R"({"method": "mean", "matrx": [[1]]})")
            .starts_with("line 1: unknown member of a request 'matrx'\n  nearest  matrix"));
  CHECK(error_of(R"({"method": "mgda", "gram": [[1, 2], [2, 1]]})") ==
        "line 1: gram has 2 and 2 for tasks 1 and 0, expected inner products: symmetric and at "
        "most the product of the norms, 1");
  CHECK(error_of(R"({"method": "mgda", "gram": [[1, 2, 3]]})") ==
        "line 1: gram is 1 x 3, expected a square matrix");
  CHECK(error_of(R"({"method": "mean", "tasks": [0.5], "matrix": [[1]]})") ==
        "line 1: tasks has 0.5, expected whole numbers from 0");
  CHECK(error_of(R"({"method": "gls", "matrix": [[1]]})") ==
        "line 1: gls: no losses, expected one per row of the matrix: the method needs them");
  CHECK(error_of(R"({"method": "mean", "step": -1, "matrix": [[1]]})") ==
        "line 1: step is -1, expected 0 or more");
  const auto all = answers("{\"id\": 7, \"method\": \"mean\"}\n" +
                           (R"({"method": "mean", "matrix": )" + kRows) + "}");
  REQUIRE(all.size() == 2);
  CHECK(all[0]["id"].as<std::int64_t>() == 7);
  CHECK(all[0]["line"].as<std::int64_t>() == 1);
  CHECK(numbers(all[1]["weights"]) == std::vector<double>{0.5, 0.5});
}

TEST_CASE("stream: hostile lines are answered by errors") {
  for (const std::string& line :
       {std::string("[1, 2"), std::string("NaN"),
        std::string("{\"method\": \"mean\", \"matrix\": [[NaN]]}"),
        std::string("{\"method\": \"mean\", \"matrix\": [[1e999]]}"),
        std::string("\xff\xfe\x00x", 4), std::string("null"), std::string("\"text\""),
        std::string(100'000, '['), std::string(std::size_t{33} << 20, '1'),
        std::string("{\"method\": \"mgda\", \"matrix\": [[1e300], [1e300]]}")}) {
    const auto all = answers(line + "\n{\"method\": \"mean\", \"matrix\": [[1]]}\n");
    REQUIRE(all.size() == 2);
    CHECK(all[0]["error"].as<std::string>().starts_with("line 1: "));
    CHECK(all[1].find("weights") != nullptr);
  }
}

TEST_CASE("stream: products that no gradients have are refused or answered, never endless") {
  // Each pair is possible, the three together are not: the matrix has a negative eigenvalue.
  for (const auto& m : multitask::methods()) {
    CAPTURE(m.name);
    CHECK(answers(R"({"method": ")" + std::string(m.name) +
                  R"(", "losses": [1, 1, 1], "gram": [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]})")
              .size() == 1);
  }
}
