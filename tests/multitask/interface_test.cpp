// The interface: options, registry, errors by exact text, absent tasks.
#include <concord/multitask/aggregate.h>
#include <concord/tensor/check.h>

#include <doctest/doctest.h>

#include <limits>
#include <set>
#include <string>

using namespace concord;
using namespace concord::multitask;

namespace {

template <class E, class F>
std::string headline_of(F f) {
  try {
    f();
  } catch (const E& e) {
    return e.headline();
  }
  return "no error";
}

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE(
    "registry: every method can be made from its defaults, by its own name, and is documented") {
  std::set<std::string_view> names;
  for (const MethodInfo& m : methods()) {
    CAPTURE(m.name);
    CHECK(names.insert(m.name).second);
    CHECK(make_aggregator(m.name)->name() == m.name);
    CHECK_FALSE(m.help.empty());
    CHECK_FALSE(m.source.empty());
    OptionMap defaults;
    for (const auto& [name, value] : default_options(m.name)) {
      if (!value.empty()) defaults[name] = value;
    }
    CHECK_NOTHROW(make_aggregator(m.name, defaults));
  }
  CHECK(default_options("cagrad") ==
        std::vector<std::pair<std::string, std::string>>{
            {"preset", "paper"}, {"c", "0.5"}, {"scale", "none"}, {"times", "one"}});
}

TEST_CASE("errors: unknown names and values") {
  CHECK(headline_of<ValueError>([] { make_aggregator("pcgard"); }) == "unknown method 'pcgard'");
  try {
    make_aggregator("pcgard");
  } catch (const ValueError& e) {
    CHECK(std::string(e.what()).find("nearest  pcgrad") != std::string::npos);
  }
  CHECK(headline_of<ValueError>([] {
          make_aggregator("pcgrad", {{"ordre", "index"}});
        }) == "unknown option of pcgrad 'ordre'");
  CHECK(headline_of<ValueError>([] {
          make_aggregator("mean", {{"c", "1"}});
        }) == "mean: option c is given, expected none: the method has no options");
  CHECK(headline_of<ValueError>([] {
          make_aggregator("cagrad", {{"c", "-1"}});
        }) == "cagrad: option c is '-1', expected a number in [0, 1.7976931348623157e+308]");
  CHECK(headline_of<ValueError>([] {
          make_aggregator("cagrad", {{"c", "0.5x"}});
        }) == "cagrad: option c is '0.5x', expected a number in [0, 1.7976931348623157e+308]");
  CHECK(headline_of<ValueError>([] {
          make_aggregator("cagrad", {{"scale", "2"}});
        }) == "cagrad: option scale is '2', expected one of none, 1+c, 1+c^2, 1+lambda");
  CHECK(headline_of<ValueError>([] {
          make_aggregator("cosine_gate", {{"main", "-1"}});
        }) == "cosine_gate: option main is '-1', expected a whole number in [0, 1073741824]");
  for (const auto& [mains, wrong] :
       {std::pair("0,1,0.5", "0.5"), {"0,2", "2"}, {"-1", "-1"}, {"1,0", "1"}, {"0,nan", "nan"}}) {
    CHECK(headline_of<ValueError>([&, &text = mains] {
            make_aggregator("cosine_gate", {{"mains", text}});
          }).find(std::string("cosine_gate: option mains names ") + wrong + " as a main task") ==
          0);
  }
  CHECK(headline_of<ValueError>([] {
          make_aggregator("cosine_gate", {{"main", "1"}, {"mains", "0,1"}});
        }) == "cosine_gate: options main and mains are given, expected one of them");
  CHECK(headline_of<ValueError>([] {
          make_aggregator("pcgrad", {{"order", "2,,1"}});
        }) ==
        "pcgrad: option order is '2,,1', expected one of random, index, or task numbers with "
        "commas between them");
  CHECK(headline_of<ValueError>([] {
          make_aggregator("pcgrad", {{"order", "2,1,2"}});
        }) == "pcgrad: option order names a task twice, expected each task once");
}

TEST_CASE("errors: a NaN or infinite gradient names its task and nothing is written") {
  Gram gram(3);
  for (int i = 0; i < 3; ++i) gram.set(i, i, 1);
  Direction answer{{7, 8, 9}, 3, "before"};
  const std::vector<int> tasks = {4, 2, 9};
  for (const MethodInfo& m : methods()) {
    CAPTURE(m.name);
    const auto aggregator = make_aggregator(m.name);
    const std::vector<double> losses = {1, 2, 3};
    const auto message = [&](const Gram& g) {
      return headline_of<NumericError>(
          [&] { aggregator->weights({.gram = g, .losses = losses, .tasks = tasks}, answer); });
    };
    Gram bad = gram;
    for (int j = 0; j < 3; ++j) bad.set(1, j, kNaN);
    CHECK(message(bad) == std::string(m.name) +
                              ": gradient of task 2 has squared norm nan, expected a finite value");
    bad = gram;
    bad.set(2, 2, kInf);
    CHECK(message(bad) == std::string(m.name) +
                              ": gradient of task 9 has squared norm inf, expected a finite value");
    bad = gram;
    bad.set(2, 0, kNaN);
    CHECK(message(bad) ==
          std::string(m.name) +
              ": inner product of the gradients of tasks 4 and 9 is nan, expected a finite value");
    CHECK(answer.weights == std::vector<double>{7, 8, 9});
    CHECK(answer.residual == 3);
    CHECK(answer.note == "before");
  }
}

TEST_CASE("errors: losses and sizes") {
  const std::vector<double> j = {1, 0, 0, 1};
  CHECK(headline_of<ValueError>([&] {
          aggregate("mgda", {{"normalize", "loss"}}, j, 2, 2);
        }) == "mgda: no losses, expected one per row of the matrix: the method needs them");
  CHECK(headline_of<ShapeError>([&] {
          aggregate("mgda", {}, j, 2, 2, std::vector<double>{1, 2, 3});
        }) == "mgda: 3 losses, expected one per gradient row (2)");
  CHECK(headline_of<NumericError>([&] {
          aggregate("mgda", {{"normalize", "loss"}}, j, 2, 2, std::vector<double>{1, kNaN});
        }) == "mgda: loss of task 1 is nan, expected a finite value");
  CHECK(headline_of<ShapeError>([&] { aggregate("mgda", {}, j, 3, 2); }) ==
        "gram: 4 values, expected 3 tasks x 2 columns");
  CHECK(headline_of<ShapeError>([&] {
          aggregate("constant", {{"w", "1"}}, j, 2, 2);
        }) == "constant: 1 weights, none for task 1");
}

TEST_CASE("absent tasks: options name tasks, not rows") {
  Gram gram = Gram::of(std::vector<double>{1, 0, -1, 1, 2, 1}, 3, 2);
  const std::vector<int> tasks = {5, 1, 2};
  Direction d;
  const auto run = [&](std::string_view method, const OptionMap& options) {
    make_aggregator(method, options)->weights({.gram = gram, .tasks = tasks}, d);
    return d.weights;
  };
  CHECK(run("single", {{"task", "1"}}) == std::vector<double>{0, 1, 0});
  CHECK(run("single", {{"task", "0"}}) == std::vector<double>{0, 0, 0});
  CHECK(d.note == "task absent");
  CHECK(run("cosine_gate", {{"main", "2"}}) == std::vector<double>{1, 0, 1});
  CHECK(run("cosine_gate", {{"main", "0"}}) == std::vector<double>{0, 0, 0});
  CHECK(d.note == "main task absent");
  // Task 5 is compared with 2, task 1 with 0, which is absent.
  CHECK(run("cosine_gate", {{"mains", "0,0,2,2,2,2"}}) == std::vector<double>{1, 0, 1});
  CHECK(d.note == "main task absent");
  CHECK(headline_of<ShapeError>([&] {
          run("cosine_gate", {{"mains", "0,0,2,2,2"}});
        }) == "cosine_gate: 5 mains, none for task 5");
  CHECK(run("constant", {{"w", "9,8,7,6,5,4"}}) == std::vector<double>{4, 8, 7});
  CHECK(run("pcgrad", {{"order", "0,5,4,2,1,3"}}) == run("pcgrad", {{"order", "5,2,1"}}));
  CHECK(headline_of<ValueError>([&] {
          run("pcgrad", {{"order", "5,2"}});
        }) == "pcgrad: option order names 2 of the 3 tasks present, expected all of them");
}
