// The papers' toy problems: gradients against the tape and against differences, the numbers of the
// literature's examples, and the runs as a user starts them.
#include <concord/autograd/ops.h>
#include <concord/autograd/tape.h>
#include <concord/experiments/cagrad_toy.h>
#include <concord/experiments/du_toy.h>
#include <concord/experiments/pcgrad_toy.h>
#include <concord/experiments/sgsu_toy.h>
#include <concord/multitask/registry.h>
#include <concord/tensor/check.h>
#include <concord/tensor/random.h>
#include <concord/tests/experiments/run_files.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <csignal>

using namespace concord;
using namespace concord::experiments;
using concord::testing::folder_for;
using concord::testing::text_of;

namespace {

/// A loss of two variables recorded on a tape.
using Recorded = std::function<Var(const Var& x1, const Var& x2)>;

Var number(double value) { return Var(Tensor::full({}, value, DType::f64)); }
Var square_of(const Var& x) { return x * x; }

LossAt on_tape(const Recorded& f, const Point& p) {
  Tape tape;
  const Var leaves[] = {tape.leaf(Tensor::full({}, p[0], DType::f64)),
                        tape.leaf(Tensor::full({}, p[1], DType::f64))};
  const Seed seed{f(leaves[0], leaves[1]), 0, 1, {}};
  std::vector<Tensor> gradients;
  tape.backward(std::span(&seed, 1), 1, nullptr, {.wanted = leaves, .gradients = &gradients});
  return {seed.var.value().item(), {gradients[0][0].item(), gradients[1][0].item()}};
}

/// The landscape's two losses at random points: value and gradient from the tape to rounding, and
/// the gradient from central differences.
void check_gradients(const Landscape& landscape, const std::array<Recorded, 2>& recorded,
                     double width, const std::vector<Point>& more = {}) {
  std::vector<Point> points = more;
  const Rng rng(7);
  for (std::uint64_t i = 0; i < 40; ++i) {
    points.push_back(
        {width * (2 * rng.uniform(2 * i) - 1), width * (2 * rng.uniform(2 * i + 1) - 1)});
  }
  for (std::size_t n = 0; n < points.size(); ++n) {
    CAPTURE(points[n][0]);
    CAPTURE(points[n][1]);
    for (std::size_t i = 0; i < 2; ++i) {
      CAPTURE(i);
      const LossAt here = landscape(points[n])[i], tape = on_tape(recorded[i], points[n]);
      CHECK(here.value == doctest::Approx(tape.value).epsilon(1e-12));
      for (std::size_t k = 0; k < 2; ++k) {
        CHECK(here.gradient[k] == doctest::Approx(tape.gradient[k]).epsilon(1e-10).scale(1));
        if (n < more.size()) continue;  // a kink has no difference quotient
        const double h = 1e-6;
        Point up = points[n], down = points[n];
        up[k] += h;
        down[k] -= h;
        const double slope = (landscape(up)[i].value - landscape(down)[i].value) / (2 * h);
        CHECK(here.gradient[k] == doctest::Approx(slope).epsilon(1e-4).scale(1));
      }
    }
  }
}

Var floored_log(const Var& a) { return log(maximum(abs(a), number(5e-6))); }

/// Where a method stands after some updates.
Walk walked(Landscape landscape, const std::string& method, const multitask::OptionMap& options,
            Rule rule, double rate, const Point& start, std::int64_t steps) {
  Walk walk(std::move(landscape), multitask::make_aggregator(method, options), rule, rate, start);
  while (walk.steps() < steps) walk.step();
  return walk;
}

Landscape authors_bowls() {
  return [](const Point& x) { return cagrad_landscape(x); };
}

}  // namespace

TEST_CASE("gradients: PCGrad's valleys agree with the tape and with differences") {
  check_gradients(
      pcgrad_landscape,
      {[](const Var& t1, const Var& t2) { return 20 * floored_log(0.5 * t1 + tanh(t2)); },
       [](const Var& t1, const Var& t2) { return 25 * floored_log(0.5 * t1 - tanh(t2) + 2); }},
      4, {{0, 0}});  // both losses' floor and slope: task 1 is below the floor at 0
}

TEST_CASE("gradients: CAGrad's valleys and bowls, either sign, the kink at x2 = 0 included") {
  for (const bool printed : {false, true}) {
    CAPTURE(printed);
    const auto loss = [printed](int task) -> Recorded {
      return [=](const Var& x1, const Var& x2) {
        const double centre = task == 0 ? 7 : -7;
        const Var h = tanh(-x2);
        const Var f = task == 0 ? floored_log(0.5 * (-x1 + -7) - h) + 6
                      : printed ? floored_log(0.5 * (-x1 + 3) - h + 2) + 6
                                : floored_log(0.5 * (-x1 + 3) + h + 2) + 6;
        const Var g = 0.1 * (square_of(-x1 + centre) + 0.1 * square_of(-x2 + -8)) + -20;
        return maximum(tanh(0.5 * x2), number(0)) * f + maximum(tanh(-0.5 * x2), number(0)) * g;
      };
    };
    check_gradients([printed](const Point& x) { return cagrad_landscape(x, printed); },
                    {loss(0), loss(1)}, 11, {{0, 0}, {-3, 0}});
  }
}

TEST_CASE("gradients: Du's bowls and line, and the quadratics of the single step update") {
  check_gradients(du_bowls,
                  {[](const Var& x, const Var& y) { return x * x + y * y; },
                   [](const Var& x, const Var& y) { return square_of(x + -3) + y * y; }},
                  5);
  check_gradients(du_line,
                  {[](const Var& x, const Var& y) { return square_of(x + -10) + 0 * y; },
                   [](const Var& x, const Var& y) { return x * x + 0 * y; }},
                  25);
  check_gradients([](const Point& x) { return sgsu_quadratics(x, 1.5, 7); },
                  {[](const Var& x, const Var& y) { return 0.75 * square_of(x + -1) + 0 * y; },
                   [](const Var& x, const Var& y) { return 3.5 * square_of(x + 1) + 0 * y; }},
                  2);
  const LossPair rotation = du_rotation({0.5, -2});
  CHECK(rotation[1].gradient == Point{4, -5});
  CHECK(rotation[0].gradient == Point{1, -4});
}

TEST_CASE("Du, one dimension: the table of the example, to 1e-8") {
  struct Row {
    double start;
    const char* method;
    const char* form;
    int first;  // step at which L_main < 0.1; -1: never
    double end;
  };
  const Row rows[] = {{-20, "single", "", 226, 9.99983678},
                      {-20, "sum", "", -1, 5},
                      {5, "single", "", 137, 9.99997280},
                      {5, "sum", "", -1, 5},
                      {25, "single", "", 192, 10.00008161},
                      {25, "sum", "", 33, 5},
                      {-20, "cosine_gate", "unweighted", 211, 9.99987935},
                      {-20, "cosine_gate", "weighted", 211, 9.99987935},
                      {5, "cosine_gate", "unweighted", 137, 9.99997280},
                      {5, "cosine_gate", "weighted", 137, 9.99997280},
                      {25, "cosine_gate", "unweighted", 33, 9.99999991},
                      {25, "cosine_gate", "weighted", 33, 9.99999991}};
  for (const Row& row : rows) {
    CAPTURE(row.start);
    CAPTURE(row.method);
    multitask::OptionMap options;
    if (*row.form) options["form"] = row.form;
    Walk walk(du_line, multitask::make_aggregator(row.method, options), Rule::descent, 0.01,
              {row.start, 0});
    std::int64_t first = -1;
    while (true) {
      if (first < 0 && walk.losses()[0].value < 0.1) first = walk.steps();
      if (walk.steps() == 600) break;
      walk.step();
    }
    CHECK(first == row.first);
    CHECK(std::abs(walk.at()[0] - row.end) < 1e-8 / 2 + 1e-12);
  }
}

TEST_CASE("Du, two dimensions: addition settles beside the optimum, both gates reach it") {
  const auto end = [](LossPair (*landscape)(const Point&), const std::string& method,
                      const multitask::OptionMap& options, const Point& start) {
    return walked(landscape, method, options, Rule::descent, 0.01, start, 600).at();
  };
  const Rng rng(5);
  for (std::uint64_t i = 0; i < 20; ++i) {
    const Point start{-4 + 8 * rng.uniform(2 * i), -4 + 8 * rng.uniform(2 * i + 1)};
    const Point bowls = end(du_bowls, "sum", {}, start);
    CHECK(std::hypot(bowls[0] - 1.5, bowls[1]) < 1e-6);
    const Point rotation = end(du_rotation, "sum", {}, start);
    CHECK(std::hypot(rotation[0] - 1.5, rotation[1] - 1.5) < 1e-4);
    for (const char* form : {"unweighted", "weighted"}) {
      for (const auto landscape : {du_bowls, du_rotation}) {
        const Point gated = end(landscape, "cosine_gate", {{"form", form}}, start);
        CHECK(du_bowls(gated)[0].value < 0.1);
      }
    }
  }
}

TEST_CASE(
    "Proposition 1 over random fields: at least plain descent's decrease, no rise in the bound") {
  for (const char* form : {"unweighted", "weighted"}) {
    for (const char* field : {"noise", "linear"}) {
      for (const int dimensions : {1, 2, 17}) {
        CAPTURE(form);
        CAPTURE(field);
        CAPTURE(dimensions);
        const PropositionCounts c = check_proposition(
            {.form = form, .field = field, .dimensions = dimensions, .walks = 60, .steps = 50});
        CHECK(c.steps > 2500);
        CHECK(c.least >= 1 - 1e-12);
        CHECK(c.rises_bounded == 0);
        CHECK(c.open > 0);
        CHECK(c.open < c.steps);
      }
    }
  }
  // A fixed step and a field without bound: the loss rises now and then.
  const PropositionCounts fixed = check_proposition({.walks = 60});
  const double share = static_cast<double>(fixed.rises_fixed) / static_cast<double>(fixed.steps);
  CHECK(share > 0.03);
  CHECK(share < 0.5);
}

TEST_CASE("PCGrad's valleys: Adam on the sum stalls, on PCGrad's direction it arrives") {
  const Point start{0.5, -3};
  const LossPair at_start = pcgrad_landscape(start);
  CHECK(at_start[0].value == doctest::Approx(-5.886).epsilon(1e-4));
  CHECK(at_start[1].value == doctest::Approx(29.4283).epsilon(1e-6));

  Walk sum = walked(pcgrad_landscape, "sum", {}, Rule::adam, 1e-3, start, 1000);
  CHECK(std::abs(sum.at()[0] - 1.7775) < 1e-3);
  CHECK(std::abs(sum.at()[1] - -1.3490) < 1e-3);
  while (sum.steps() < 500'000) sum.step();
  CHECK(sum.at()[0] > 1);
  CHECK(sum.at()[1] < -1);
  CHECK(sum.losses()[1].value > 30);  // task 2 is worse than at the start

  const Walk surgery =
      walked(pcgrad_landscape, "pcgrad", {{"order", "index"}}, Rule::adam, 1e-3, start, 500'000);
  CHECK(std::abs(surgery.at()[0] - -2) < 0.1);
  CHECK(surgery.at()[1] > 3);
  CHECK(surgery.losses()[0].value < -50);
  CHECK(surgery.losses()[1].value < -50);
}

TEST_CASE("CAGrad's bowls: the starts' losses and who ends where") {
  const auto losses = [](const Point& x, double l1, double l2, bool printed = false) {
    const LossPair here = cagrad_landscape(x, printed);
    CHECK(std::abs(here[0].value - l1) < 1e-6);
    CHECK(std::abs(here[1].value - l2) < 1e-6);
  };
  losses({-8.5, 7.5}, 6.552363, 7.900798);
  losses({-8.5, -5}, 4.059918, -19.421502);
  losses({9, 9}, 7.943949, 6.691495);
  losses({9, 9}, 7.943949, -6.204541, true);

  const auto end = [](const std::string& method, const multitask::OptionMap& options,
                      const Point& start, std::int64_t steps) {
    return walked(authors_bowls(), method, options, Rule::adam, 1e-3, start, steps);
  };
  const multitask::OptionMap averse{{"c", "0.5"}, {"scale", "1+c"}};
  for (const Point& start : {Point{-8.5, 7.5}, Point{-8.5, -5}, Point{9, 9}, Point{-8.5, 5},
                             Point{0, 0}, Point{10, -8}}) {
    CAPTURE(start[0]);
    CAPTURE(start[1]);
    const Walk walk = end("cagrad", averse, start, 100'000);
    CHECK(std::abs(walk.at()[0]) < 1e-3);
    CHECK(std::abs(walk.at()[1] - -8.3551) < 1e-3);
    CHECK(std::abs(walk.mean_loss() - -15.0916) < 1e-4);
  }
  // Caught in a log valley, from above.
  const Walk caught = end("mean", {}, {9, 9}, 60'000);
  CHECK(caught.at()[1] > 2);
  CHECK(caught.mean_loss() > 1.5);
  CHECK(std::abs(end("mean", {}, {-8.5, -5}, 40'000).mean_loss() - -15.0916) < 1e-3);
  // On the Pareto set, away from the optimum of the mean.
  const Walk mgda = end("mgda", {}, {-8.5, -5}, 100'000);
  CHECK(std::abs(mgda.at()[0] - -6.998) < 0.5);
  CHECK(std::abs(mgda.at()[1] - -8.434) < 0.1);
  const Walk pcgrad = end("pcgrad", {{"scale", "mean"}}, {-8.5, -5}, 100'000);
  CHECK(std::abs(pcgrad.at()[0] - -6.448) < 0.5);
  CHECK(std::abs(pcgrad.at()[1] - -8.423) < 0.1);
}

TEST_CASE("single step update: the fixed points of the quadratics") {
  CHECK(sgsu_fixed_point(1, 9, 0.1, 0) == doctest::Approx(-0.8));
  CHECK(std::abs(sgsu_fixed_point(1, 9, 0.1, 1)) < 1e-15);
  CHECK(sgsu_fixed_point(1, 9, 0.1, 2) == doctest::Approx(0.8));
  const Landscape plain = [](const Point& x) { return sgsu_quadratics(x, 1, 9); };
  const auto end = [](Landscape landscape) {
    return walked(std::move(landscape), "sum", {}, Rule::descent, 0.05, {2, 0}, 800).at()[0];
  };
  CHECK(std::abs(end(plain) - -0.8) < 1e-12);
  CHECK(std::abs(end(single_step_update(plain, 0.1, Outer::first_order))) < 1e-12);
  CHECK(std::abs(end(single_step_update(plain, 0.1, Outer::exact)) - 0.8) < 1e-9);

  // The outer gradients by hand, and as the derivative of L_i(x - alpha L_i'(x)).
  const double x = 0.3, alpha = 0.07;
  const LossPair first = single_step_update(plain, alpha, Outer::first_order)({x, 0});
  const LossPair exact = single_step_update(plain, alpha, Outer::exact)({x, 0});
  CHECK(first[1].gradient[0] == doctest::Approx(9 * (1 - alpha * 9) * (x + 1)).epsilon(1e-12));
  CHECK(exact[1].gradient[0] ==
        doctest::Approx(9 * (1 - alpha * 9) * (1 - alpha * 9) * (x + 1)).epsilon(1e-9));
  // ... in two variables, where the Hessian matters.
  const Landscape curved = [](const Point& t) { return pcgrad_landscape(t); };
  const Point at{1.2, 0.4};
  const LossPair outer = single_step_update(curved, 1e-3, Outer::exact)(at);
  const auto ahead = [&](const Point& p, std::size_t i) {
    const Point g = curved(p)[i].gradient;
    return curved({p[0] - 1e-3 * g[0], p[1] - 1e-3 * g[1]})[i].value;
  };
  for (std::size_t i = 0; i < 2; ++i) {
    const double h = 1e-5;
    CHECK(outer[i].gradient[0] ==
          doctest::Approx((ahead({at[0] + h, at[1]}, i) - ahead({at[0] - h, at[1]}, i)) / (2 * h))
              .epsilon(1e-6));
    CHECK(outer[i].gradient[1] ==
          doctest::Approx((ahead({at[0], at[1] + h}, i) - ahead({at[0], at[1] - h}, i)) / (2 * h))
              .epsilon(1e-6));
  }
}

TEST_CASE("toys run, leave the same bits after an interruption, and report with their figures") {
  const std::pair<Experiment, std::vector<std::string>> toys[] = {
      {du_toy(), {"iterations=300", "starts=3", "walks=20"}},
      {pcgrad_toy(), {"iterations=3000"}},
      {cagrad_toy(), {"iterations=3000", "starts=9,9;-8.5,-5"}},
      {sgsu_toy(), {"iterations=200"}}};
  const testing::TemporaryFolder temporary;
  Progress progress(Progress::Style::quiet, stderr, std::chrono::seconds(1));
  for (const auto& entry : toys) {
    const Experiment& toy = entry.first;
    CAPTURE(toy.name);
    Settings s = toy.settings();
    for (const std::string& pair : entry.second) s.assign(pair);
    const RunFolder whole = folder_for(temporary.path(), s), cut = folder_for(temporary.path(), s);
    Job job{s, whole, progress}, stopped{s, cut, progress};
    REQUIRE(toy.run(job));
    {
      const StopOnSignal guard;
      std::raise(SIGINT);
      CHECK_FALSE(toy.run(stopped));
    }
    {
      const StopOnSignal guard;  // forgets the signal
      REQUIRE(toy.run(stopped));
    }
    for (const char* file : {"metrics.csv", "paths.csv"})
      CHECK(text_of(whole.path() / file) == text_of(cut.path() / file));

    const Report page = toy.report(std::span(&whole, 1), whole.plots());
    for (const Section& section : page.sections) {
      for (const Drawing& drawing : section.drawings) CHECK(drawing.problem == "");
    }
    CHECK(html(page).find("What differs from print") != std::string::npos);
    CHECK_THROWS_AS(toy.evaluate(whole, "test"), ValueError);
  }
}

TEST_CASE("toy settings: points that are none are refused, by exact text") {
  CHECK(points_from("starts", "-8.5,7.5;9,9") == std::vector<Point>{{-8.5, 7.5}, {9, 9}});
  for (const char* text : {"", "1", "1,2;", "1,2,3", "1,x", "1,2 ;3,4", "nan,1"}) {
    CAPTURE(text);
    CHECK(testing::error_text<ValueError>([&] { points_from("starts", text); }) ==
          "setting starts is '" + std::string(text) +
              "', expected points as x1,x2 with ; between them");
  }
}

TEST_CASE("plot: contours need their window, their landscape and colours that fit") {
  const testing::TemporaryFolder folder;
  ContourPlot plot{
      .title = "Bowl",
      .x = {.label = "x1", .low = -1, .high = 1},
      .y = {.label = "x2", .low = 0, .high = 3},
      .landscapes = {{{{1, 0, 1}, {2, 1, 2}}, {0.5, 1.5}}},
      .panels =
          {{.title = "left_one",
            .trajectories = {{.x = {0, 0.5}, .y = {1, 2}, .colours = {0xff0000}, .ends = true}},
            .arrows = {{0, 1, 0.2, 0.3, 0x00ff00}}}},
      .legend = {{"way", 0xff0000}}};
  const Drawing drawing = draw(plot, folder.path() / "bowl");
  REQUIRE(drawing.problem == "");
  for (const std::string text : {"Bowl", "left_one", "x1", "x2", "way"})
    CHECK_MESSAGE(drawing.svg.find(text) != std::string::npos, text);

  const auto error = [&] {
    return testing::error_text<ValueError>([&] { draw(plot, folder.path() / "unused"); });
  };
  plot.panels[0].trajectories[0].colours = {1, 2, 3};
  CHECK(
      error() ==
      "plot: a trajectory has 2 x values, 2 y values and 3 colours, expected as many each, or one "
      "colour");
  plot.panels[0].landscape = 1;
  CHECK(error() == "plot: panel 0 shows landscape 1, there are 1");
  plot.landscapes[0].values[1].pop_back();
  CHECK(error() == "plot: row 1 of a landscape has 2 values, expected 3");
  plot.y.high.reset();
  CHECK(error() == "plot: contours need both ends of both axes and a column or more");
}

TEST_CASE("plot: series of few points show them") {
  const testing::TemporaryFolder folder;
  LinePlot plot{.title = "Few", .series = {{"few", {1}, {2}}, {"many", {}, {}}}};
  for (int i = 0; i < 13; ++i) {
    plot.series[1].x.push_back(i);
    plot.series[1].y.push_back(i * i);
  }
  REQUIRE(draw(plot, folder.path() / "few").problem == "");
  const std::string script = text_of(folder.path() / "few.gp");
  CHECK(script.find("$data0 using 1:2 with linespoints") != std::string::npos);
  CHECK(script.find("$data1 using 1:2 with lines lw") != std::string::npos);
}
