// The tape and its sweep, on small hand-made operations: what the sweep promises must not depend on
// the library's own ops.
#include <concord/autograd/context.h>
#include <concord/autograd/profile.h>
#include <concord/autograd/tape.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

using namespace concord;
using concord::testing::error_text;

namespace {

template <class T>
void put(kernels::Rows<T> to, int r, index_t i, T value) {
  if (to.accumulate)
    to[r][i] += value;
  else
    to[r][i] = value;
}

/// a * b, element by element, equal shapes; both carry the batch.
Var times(const Var& a, const Var& b) {
  Tensor y = Tensor::empty_like(a.value());
  for (index_t i = 0; i < y.numel(); ++i)
    y.data<double>()[i] = a.value().data<double>()[i] * b.value().data<double>()[i];
  return record({.name = "times", .samples = 3}, {a, b}, y,
                [a = a.value(), b = b.value()](const Cotangent& gy, Sink& sink) {
                  const auto g = gy.rows<double>();
                  for (int k = 0; k < 2; ++k) {
                    const double* other = (k == 0 ? b : a).data<double>();
                    if (auto to = sink.slot<double>(k)) {
                      for (int r = 0; r < to.count; ++r)
                        for (index_t i = 0; i < a.numel(); ++i) put(to, r, i, g[r][i] * other[i]);
                    }
                  }
                });
}

/// x [n, c] + w [c]: w is shared by the samples.
Var shift(const Var& x, const Var& w) {
  Tensor y = Tensor::empty_like(x.value());
  const index_t n = x.dim(0), c = x.dim(1);
  for (index_t i = 0; i < n * c; ++i)
    y.data<double>()[i] = x.value().data<double>()[i] + w.value().data<double>()[i % c];
  return record({.name = "shift", .samples = 1}, {x, w}, y,
                [n, c](const Cotangent& gy, Sink& sink) {
                  if (auto gx = sink.slot<double>(0)) {
                    const auto g = gy.rows<double>();
                    for (int r = 0; r < gx.count; ++r)
                      for (index_t i = 0; i < n * c; ++i) put(gx, r, i, g[r][i]);
                  }
                  if (auto gw = sink.slot<double>(1)) {
                    const auto g = gy.per_task<double>();
                    for (int r = 0; r < gw.count; ++r)
                      for (index_t j = 0; j < c; ++j) {
                        double s = 0;
                        for (index_t i = 0; i < gy.batch(n); ++i) s += g[r][i * c + j];
                        put(gw, r, j, s);
                      }
                  }
                });
}

/// Subtracts the mean over the batch: samples mix.
Var centre(const Var& x) {
  const index_t n = x.dim(0), c = x.dim(1);
  const auto apply = [n, c](const double* from, auto&& to) {
    for (index_t j = 0; j < c; ++j) {
      double m = 0;
      for (index_t i = 0; i < n; ++i) m += from[i * c + j] / static_cast<double>(n);
      for (index_t i = 0; i < n; ++i) to(i * c + j, from[i * c + j] - m);
    }
  };
  Tensor y = Tensor::empty_like(x.value());
  apply(x.value().data<double>(), [&](index_t i, double v) { y.data<double>()[i] = v; });
  return record({"centre"}, {x}, y, [apply](const Cotangent& gy, Sink& sink) {
    if (auto gx = sink.slot<double>(0)) {
      const auto g = gy.rows<double>();
      for (int r = 0; r < gx.count; ++r)
        apply(g[r], [&](index_t i, double v) { put(gx, r, i, v); });
    }
  });
}

/// The sum of all elements.
Var total(const Var& x) {
  double s = 0;
  for (const double v : x.value().values<double>()) s += v;
  return record({"total"}, {x}, Tensor::full({}, s, DType::f64),
                [n = x.value().numel()](const Cotangent& gy, Sink& sink) {
                  if (auto gx = sink.slot<double>(0)) {
                    const auto g = gy.rows<double>();
                    for (int r = 0; r < gx.count; ++r)
                      for (index_t i = 0; i < n; ++i) put(gx, r, i, g[r][0]);
                  }
                });
}

/// The sum of each row: per-sample losses.
Var row_totals(const Var& x) {
  const index_t n = x.dim(0), c = x.dim(1);
  Tensor y = Tensor::zeros({n}, DType::f64);
  for (index_t i = 0; i < n * c; ++i) y.data<double>()[i / c] += x.value().data<double>()[i];
  return record({.name = "row_totals", .samples = 1}, {x}, y,
                [n, c](const Cotangent& gy, Sink& sink) {
                  if (auto gx = sink.slot<double>(0)) {
                    const auto g = gy.rows<double>();
                    for (int r = 0; r < gx.count; ++r)
                      for (index_t i = 0; i < n * c; ++i) put(gx, r, i, g[r][i / c]);
                  }
                });
}

Tensor ramp(const Shape& shape, double start) {
  Tensor t = Tensor::empty(shape, DType::f64);
  for (index_t i = 0; i < t.numel(); ++i)
    t.data<double>()[i] = std::sin(start + 1.7 * static_cast<double>(i));
  return t;
}

Initializer values(double start) {
  return [start](const Tensor& t, const Rng&) { t.copy_from(ramp(t.shape(), start)); };
}

/// Two tasks: a trunk w, a shared v that only task 0 reaches, a shared parameter nobody reaches,
/// and a head for each task.
struct Net {
  ParameterStore store;
  SliceId head1, w, head0, v, unused;
  Theta theta;

  Net()
      : head1(store.add("head1", {3}, values(1), 1)),
        w(store.add("w", {3}, values(2))),
        head0(store.add("head0", {3}, values(3), 0)),
        v(store.add("v", {3}, values(4))),
        unused(store.add("unused", {2}, values(5))),
        theta(store, DType::f64) {
    theta.initialize(Rng(7));
  }

  std::vector<Var> losses(Tape& tape, const Tensor& x) {
    const Context ctx{.theta = &theta, .tape = &tape};
    const Var h = shift(x, ctx.parameter(w));
    const Var both = times(h, h);  // the same node twice
    const Var only0 = shift(both, ctx.parameter(v));
    return {total(times(shift(only0, ctx.parameter(head0)), both)),
            total(times(shift(centre(both), ctx.parameter(head1)), h))};
  }
};

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace

TEST_CASE("the layout puts shared slices first, then heads by task, each at a multiple of 64") {
  Net net;
  CHECK(net.store.slice(net.w).offset == 0);
  CHECK(net.store.slice(net.v).offset == 64);
  CHECK(net.store.slice(net.unused).offset == 128);
  CHECK(net.store.slice(net.head0).offset == 192);
  CHECK(net.store.slice(net.head1).offset == 256);
  CHECK(net.store.shared_size() == 192);
  CHECK(net.store.size() == 320);
  CHECK(net.store.parameters() == 14);
  CHECK(error_text<UsageError>([&] { net.store.add("late", {1}, values(0)); }) ==
        "parameters: 'late' is added after the layout was fixed");
  ParameterStore twice;
  twice.add("a", {1}, values(0));
  CHECK(error_text<ValueError>([&] { twice.add("a", {2}, values(0)); }) ==
        "parameters: the name 'a' is taken");
}

TEST_CASE("a sweep's rows are the gradients, by finite differences") {
  Net net;
  const Tensor x = ramp({5, 3}, 0.3);
  Tape tape;
  GradientMatrix g(net.store, 2, DType::f64);
  tape.backward(net.losses(tape, x), g);
  for (const auto& [id, task] : std::vector<std::pair<SliceId, int>>{{net.w, 0},
                                                                     {net.w, 1},
                                                                     {net.v, 0},
                                                                     {net.v, 1},
                                                                     {net.head0, 0},
                                                                     {net.head1, 1},
                                                                     {net.unused, 0},
                                                                     {net.unused, 1}}) {
    const Tensor parameter = net.theta[id];
    for (index_t i = 0; i < parameter.numel(); ++i) {
      double& p = parameter.data<double>()[i];
      const double at = p, h = 1e-6;
      const auto loss = [&](double value) {
        p = value;
        Tape scratch;
        return net.losses(scratch, x)[task].item();
      };
      const double numeric = (loss(at + h) - loss(at - h)) / (2 * h);
      p = at;
      CHECK(g.slice(id, task).data<double>()[i] == doctest::Approx(numeric).epsilon(1e-6));
    }
  }
}

TEST_CASE(
    "rows of one sweep have the bits of separate sweeps; chunks too; sweeps can be repeated") {
  Net net;
  Tape tape;
  const auto losses = net.losses(tape, ramp({5, 3}, 0.3));
  GradientMatrix both(net.store, 2, DType::f64), chunked(net.store, 2, DType::f64);
  tape.backward(losses, both);
  tape.backward(losses, chunked, {.max_rows = 1});
  for (int t = 0; t < 2; ++t) {
    GradientMatrix one(net.store, 1, DType::f64, Columns::all);
    const Seed seed{losses[t], 0, 1, {}};
    tape.backward(std::span(&seed, 1), 1, &one);
    CHECK(same_bits(both.row(t), one.row(0).rows(0, both.columns())));
    CHECK(same_bits(chunked.row(t), both.row(t)));
  }
  CHECK(same_bits(both.heads(), chunked.heads()));
}

TEST_CASE("what no loss reaches is zero, not stale") {
  Net net;
  Tape tape;
  GradientMatrix g(net.store, 2, DType::f64);
  const auto losses = net.losses(tape, ramp({5, 3}, 0.3));
  tape.backward(losses, g);
  CHECK(g.slice(net.v, 0).at({0}) != 0);
  CHECK(g.slice(net.v, 1).at({0}) == 0);
  const Seed seed{losses[1], 1, 1, {}};  // task 0 is absent from this step
  tape.backward(std::span(&seed, 1), 2, &g);
  for (index_t i = 0; i < g.columns(); ++i) CHECK(g.row(0).at({i}) == 0);
  CHECK(g.slice(net.head0, 0).at({1}) == 0);
  CHECK(g.slice(net.head1, 1).at({1}) != 0);
}

TEST_CASE("a weighted sum of losses goes into one row") {
  Net net;
  Tape tape;
  const auto losses = net.losses(tape, ramp({5, 3}, 0.3));
  GradientMatrix g(net.store, 2, DType::f64), sum(net.store, 1, DType::f64, Columns::all);
  tape.backward(losses, g);
  const Seed seeds[] = {{losses[0], 0, 0.25, {}}, {losses[1], 0, -3, {}}};
  tape.backward(seeds, 1, &sum);
  for (index_t i = 0; i < 3; ++i) {
    CHECK(sum.slice(net.w, 0).at({i}) ==
          doctest::Approx(0.25 * g.slice(net.w, 0).at({i}) - 3 * g.slice(net.w, 1).at({i})));
    CHECK(sum.slice(net.head1, 0).at({i}) == doctest::Approx(-3 * g.slice(net.head1, 1).at({i})));
  }
}

TEST_CASE("a task's loss that reaches another task's head is an error") {
  Net net;
  Tape tape;
  const Context ctx{.theta = &net.theta, .tape = &tape};
  const Var h = shift(ramp({5, 3}, 0.3), ctx.parameter(net.head1));
  GradientMatrix g(net.store, 2, DType::f64);
  CHECK(error_text<UsageError>([&] {
          tape.backward({total(h), total(h)}, g);
        }) == "backward: the loss of task 0 reaches 'head1', which belongs to the head of task 1");
}

TEST_CASE("frozen parameters and detached values take no part") {
  Net net;
  net.store.slice(net.w).frozen = true;
  Tape tape;
  const Context ctx{.theta = &net.theta, .tape = &tape};
  CHECK_FALSE(ctx.parameter(net.w).recorded());
  const Var h = shift(ramp({5, 3}, 0.3), ctx.parameter(net.v));
  const Var loss = total(times(h.detach(), h));
  GradientMatrix g(net.store, 1, DType::f64, Columns::all);
  tape.backward({loss}, g);
  double expected = 0;
  for (index_t i = 0; i < 5; ++i) expected += h.value().at({i, 1});
  CHECK(g.slice(net.v, 0).at({1}) == doctest::Approx(expected));
  CHECK(g.slice(net.w, 0).at({1}) == 0);
}

TEST_CASE("per-sample losses: row i is the gradient of sample i") {
  Net net;
  const Tensor x = ramp({5, 3}, 0.3);
  for (const bool mixing : {false, true}) {
    CAPTURE(mixing);
    for (const int chunk : {0, 2}) {
      CAPTURE(chunk);
      Tape tape;
      const Context ctx{.theta = &net.theta, .tape = &tape};
      const Var h = shift(x, ctx.parameter(net.w));
      const Var a = times(h, h);
      const Var b = mixing ? centre(a) : a;
      const Var losses =
          row_totals(times(shift(b, ctx.parameter(net.v)), a));  // a below and above the mix
      GradientMatrix g(net.store, 5, DType::f64, Columns::all);
      tape.backward_per_sample(losses, g, {.max_rows = chunk});
      for (int r = 0; r < 5; ++r) {
        GradientMatrix one(net.store, 1, DType::f64, Columns::all);
        Tensor pick = Tensor::zeros({5}, DType::f64);
        pick.data<double>()[r] = 1;
        const Seed seed{losses, 0, 1, pick};
        tape.backward(std::span(&seed, 1), 1, &one);
        for (const SliceId id : {net.w, net.v}) {
          for (index_t i = 0; i < 3; ++i) {
            CHECK(g.slice(id, r).at({i}) ==
                  doctest::Approx(one.slice(id, 0).at({i})).epsilon(1e-12));
          }
        }
      }
    }
  }
}

TEST_CASE("gradients at the features, and the sweep in two parts") {
  Net net;
  const Tensor x = ramp({5, 3}, 0.3);
  Tape tape;
  const Context ctx{.theta = &net.theta, .tape = &tape};
  const Var z = shift(x, ctx.parameter(net.w));
  const Var features = times(z, z);
  const std::vector<Var> losses{total(times(shift(features, ctx.parameter(net.head0)), features)),
                                total(shift(features, ctx.parameter(net.head1)))};
  GradientMatrix whole(net.store, 2, DType::f64), parts(net.store, 2, DType::f64);
  tape.backward(losses, whole);

  std::vector<Tensor> gradients;
  tape.backward(
      losses, parts,
      {.wanted = std::span(&features, 1), .gradients = &gradients, .stop_at_wanted = true});
  const Tensor at_features = gradients[0];
  CHECK(at_features.shape() == Shape{2, 5, 3});
  CHECK(at_features.at({1, 4, 2}) == 1);
  CHECK(parts.slice(net.w, 0).at({0}) == 0);
  CHECK(same_bits(parts.heads(), whole.heads()));

  const Seed on[] = {{features, 0, 1, at_features[0]}, {features, 1, 1, at_features[1]}};
  tape.backward(on, 2, &parts);
  CHECK(same_bits(parts.row(0), whole.row(0)));
  CHECK(same_bits(parts.row(1), whole.row(1)));

  const Var input = tape.leaf(x);  // a leaf that is not a parameter
  const Seed seed{total(times(input, input)), 0, 1, {}};
  tape.backward(std::span(&seed, 1), 1, nullptr,
                {.wanted = std::span(&input, 1), .gradients = &gradients});
  CHECK(gradients[0].at({0, 2, 1}) == 2 * x.at({2, 1}));
}

TEST_CASE("parameters are reported complete once, when their last user is done") {
  Net net;
  Tape tape;
  GradientMatrix g(net.store, 2, DType::f64);
  std::vector<SliceId> order;
  std::vector<double> w_then;
  const auto losses = net.losses(tape, ramp({5, 3}, 0.3));
  tape.backward(losses, g, {.on_complete = [&](SliceId id) {
                  order.push_back(id);
                  if (id == net.w) w_then = {g.slice(id, 0).at({0}), g.slice(id, 1).at({0})};
                }});
  CHECK(order == std::vector<SliceId>{net.head1, net.head0, net.v, net.w});
  CHECK(w_then == std::vector<double>{g.slice(net.w, 0).at({0}), g.slice(net.w, 1).at({0})});
}

TEST_CASE("a combined sweep is the weighted sum of the rows, and leaves the heads their own") {
  Net net;
  Tape tape;
  const auto losses = net.losses(tape, ramp({5, 3}, 0.3));
  GradientMatrix rows(net.store, 2, DType::f64), combined(net.store, 1, DType::f64);
  tape.backward(losses, rows);
  const std::vector<double> weights{0.3, -1.7};
  const std::vector<Seed> seeds{{losses[0], 0, 1, {}}, {losses[1], 1, 1, {}}};
  tape.backward(seeds, 2, &combined, {.combine = weights});
  const auto sum = [&](index_t i) { return 0.3 * rows.row(0).at({i}) - 1.7 * rows.row(1).at({i}); };
  for (index_t i = 0; i < rows.columns(); ++i)
    CHECK(combined.row(0).at({i}) == doctest::Approx(sum(i)).epsilon(1e-14));
  CHECK(same_bits(combined.heads(), rows.heads()));

  // A task alone: its part of the trunk is weighted although no rows meet.
  tape.backward(std::span(seeds).first(1), 2, &combined, {.combine = weights});
  for (index_t i = 0; i < rows.columns(); ++i)
    CHECK(combined.row(0).at({i}) == doctest::Approx(0.3 * rows.row(0).at({i})).epsilon(1e-14));
  for (const double v : combined.slice(net.head1, 1).values<double>()) CHECK(v == 0);

  CHECK(error_text<UsageError>([&] {
          tape.backward(seeds, 2, &combined, {.combine = std::span(weights).first(1)});
        }) == "backward: `combine` takes 2 weights (given: 1), scalar losses and no wanted Vars");
  CHECK(error_text<ValueError>([&] { tape.backward(seeds, 2, &rows, {.combine = weights}); }) ==
        "backward: 1 rows into a gradient matrix of 2");
  const Var both = times(losses[0], losses[1]);
  const std::vector<Seed> twice{{both, 0, 1, {}}, {both, 1, 1, {}}};
  CHECK(error_text<UsageError>([&] { tape.backward(twice, 2, &combined, {.combine = weights}); }) ==
        "backward: the sum of several losses reaches 'head1', which belongs to the head of task 1");
}

TEST_CASE("sweeps may add to the rows, and heads may be had alone") {
  Net net;
  Tape tape;
  const auto losses = net.losses(tape, ramp({5, 3}, 0.3));
  GradientMatrix once(net.store, 2, DType::f64), added(net.store, 2, DType::f64);
  tape.backward(losses, once);
  tape.backward(losses, added);
  const Seed again{losses[1], 1, 0.5, {}};
  tape.backward(std::span(&again, 1), 2, &added, {.add = true});
  CHECK(same_bits(once.row(0), added.row(0)));
  for (index_t i = 0; i < once.columns(); ++i)
    CHECK(added.row(1).at({i}) == doctest::Approx(1.5 * once.row(1).at({i})).epsilon(1e-15));
  CHECK(added.slice(net.head1, 1).at({2}) ==
        doctest::Approx(1.5 * once.slice(net.head1, 1).at({2})).epsilon(1e-15));
  GradientMatrix one(net.store, 1, DType::f64);
  const std::vector<Seed> seeds{{losses[0], 0, 1, {}}, {losses[1], 1, 1, {}}};
  CHECK(error_text<UsageError>([&] { tape.backward(seeds, 2, &one, {.heads_only = true}); }) ==
        "backward: 'v' is shared, only heads were expected above the features");
}

TEST_CASE("misuse of a tape is named") {
  Net net;
  Tape tape, other;
  const Var x = tape.leaf(ramp({2, 3}, 0));
  const Var y = other.leaf(ramp({2, 3}, 0));
  CHECK(error_text<UsageError>([&] { times(x, y); }) ==
        "times: its inputs were recorded on different tapes");
  tape.reset();
  CHECK(error_text<UsageError>([&] { times(x, x); }) ==
        "times: an input was recorded before its tape was reset\n  input  f64[2,3]  cpu");
  GradientMatrix g(net.store, 2, DType::f64);
  CHECK(error_text<UsageError>([&] {
          other.backward({Var(ramp({}, 1)), Var(ramp({}, 1))}, g);
        }) == "backward: a loss does not depend on anything on a tape\n  loss  f64[]  cpu");
  CHECK(error_text<ShapeError>([&] {
          other.backward({y, y}, g);
        }) == "backward: a loss must be a scalar, or be given a cotangent\n  loss  f64[2,3]  cpu");
  CHECK(error_text<ValueError>([&] { GradientMatrix(net.store, 0); }) ==
        "gradient matrix: 0 tasks");
  CHECK(error_text<UsageError>([&] { g.slice(net.head1, 0); }) ==
        "gradient matrix: 'head1' belongs to task 1, not to task 0");
}

TEST_CASE("the row stride is a multiple of 64 elements and never of 4 KiB") {
  for (const index_t size : {1, 64, 960, 1024, 4096}) {
    ParameterStore store;
    store.add("w", {size}, values(0));
    for (const DType t : {DType::f32, DType::f64}) {
      GradientMatrix g(store, 3, t);
      const auto stride = t == DType::f32 ? g.rows<float>().stride : g.rows<double>().stride;
      CHECK(stride % 64 == 0);
      CHECK(stride * static_cast<index_t>(size_of(t)) % 4096 != 0);
    }
  }
}

TEST_CASE("a NaN is named where it appears: forward by op, backward by op and input") {
  Tape tape;
  tape.watch_nonfinite(true);
  const Var x = tape.leaf(ramp({2, 3}, 0));
  Tensor bad = ramp({2, 3}, 1);
  bad.data<double>()[4] = INFINITY;
  const std::string path = "net.layer";
  {
    const ModuleScope inside(&tape, path);
    CHECK(error_text<NumericError>([&] { times(x, Var(bad)); }) ==
          "times: the output has 1 of 6 values that are not finite\n  output  f64[2,3]  cpu\n  "
          "module  net.layer");
  }
  tape.reset();
  const Var a = tape.leaf(Tensor::zeros({2, 3}, DType::f64));
  const Tensor huge = Tensor::full({2, 3}, 1e200, DType::f64);
  const Var c = times(times(a, huge), huge);  // forward 0; backward 1e200 * 1e200
  const Seed seed{total(c), 0, 1, {}};
  std::vector<Tensor> out;
  CHECK(error_text<NumericError>([&] {
          tape.backward(std::span(&seed, 1), 1, nullptr,
                        {.wanted = std::span(&a, 1), .gradients = &out});
        }) ==
        "times: the gradient of input 0 has 6 of 6 values that are not finite\n"
        "  output  f64[2,3]\n  input   f64[2,3]");
}

TEST_CASE("a steady step asks the system for no memory") {
  Net net;
  Tape tape;
  GradientMatrix g(net.store, 2, DType::f64);
  const Tensor x = ramp({5, 3}, 0.3);
  const auto step = [&] {
    tape.reset();
    tape.backward(net.losses(tape, x), g);
  };
  for (int i = 0; i < 3; ++i) step();
  const auto before = Allocator::of(kCpu).stats();
  for (int i = 0; i < 5; ++i) step();
  const auto after = Allocator::of(kCpu).stats();
#ifndef __SANITIZE_ADDRESS__
  CHECK(after.system_requests == before.system_requests);
#endif
  CHECK(after.in_use == before.in_use);
}

TEST_CASE("the graph can be drawn and the profile has a row per op and direction") {
  Net net;
  Tape tape;
  Profile profile;
  tape.profile(&profile);
  GradientMatrix g(net.store, 2, DType::f64);
  const auto losses = net.losses(tape, ramp({5, 3}, 0.3));
  tape.backward(losses, g);
  const std::string dot = tape.dot();
  CHECK(dot.find("label=\"head1\\n[3]\"") != std::string::npos);
  CHECK(dot.find("label=\"centre\\n[5,3]\"") != std::string::npos);
  CHECK(dot.find("n0 -> n") != std::string::npos);
  int rows = 0;
  for (const auto& row : profile.table()) {
    if (row.op == "times") {
      CHECK(row.calls == 3);
      ++rows;
    }
  }
  CHECK(rows == 2);
}
