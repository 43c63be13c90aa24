// What every operation owes, checked on every row of the op-case table.
#include <concord/autograd/gradcheck.h>
#include <concord/tests/autograd/op_cases.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>

using namespace concord;
using namespace concord::testing;

namespace {

constexpr int kRows = 3;

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

Tensor random(const Shape& shape, DType dtype, std::uint64_t stream) {
  const Tensor t = Tensor::empty(shape, dtype);
  Rng(3).fork(stream).fill_normal(t);
  return t;
}

/// The operands of a case as the parameters of a store.
struct Operands {
  ParameterStore store;
  Theta theta;

  Operands(const OpCase& c, DType dtype) : theta(declare(store, c), dtype) {
    const auto values = c.inputs(dtype);
    for (std::size_t k = 0; k < values.size(); ++k)
      theta[static_cast<SliceId>(k)].copy_from(values[k]);
  }

  /// The operands' Vars; `constant` (or none) without a tape.
  std::vector<Var> vars(Tape& tape, int constant = -1) const {
    std::vector<Var> v;
    for (SliceId id = 0; id < store.slices(); ++id) {
      v.push_back(id == constant ? Var(theta[id]) : tape.parameter(theta, id));
    }
    return v;
  }

 private:
  static const ParameterStore& declare(ParameterStore& store, const OpCase& c) {
    for (std::size_t k = 0; k < c.operands.size(); ++k) {
      store.add("operand" + std::to_string(k), c.operands[k].shape, {});
    }
    return store;
  }
};

/// kRows random cotangents for y, one per row.
std::vector<Seed> random_seeds(const Var& y) {
  std::vector<Seed> seeds;
  for (int r = 0; r < kRows; ++r) {
    seeds.push_back({y, r, 1, random(y.shape(), y.dtype(), static_cast<std::uint64_t>(r))});
  }
  return seeds;
}

double tolerance(DType dtype) { return dtype == DType::f32 ? 1e-5 : 1e-12; }

}  // namespace

TEST_CASE("the table has every function of ops.h and every op of the element-wise list") {
  std::set<std::string> covered;
  for (const OpCase& c : op_cases()) covered.insert(c.op());

  std::set<std::string> declared;
  std::ifstream header(CONCORD_TEST_FILES "/../autograd/ops.h");
  for (std::string line; std::getline(header, line);) {
    if (line.starts_with("Var ")) declared.insert(line.substr(4, line.find('(') - 4));
  }
  CHECK(declared.size() >= 25);
#define CONCORD_NAME(name, ...) declared.insert(#name);
  CONCORD_UNARY_OPS(CONCORD_NAME)
  CONCORD_BINARY_OPS(CONCORD_NAME)
#undef CONCORD_NAME
  CHECK(declared.size() >= 49);
  for (const std::string& name : declared) {
    CAPTURE(name);
    CHECK(covered.count(name) == 1);
  }
  for (const std::string& name : covered) {
    CAPTURE(name);
    CHECK(declared.count(name) == 1);
  }
}

TEST_CASE("values are those of the definition") {
  for (const OpCase& c : op_cases()) {
    CAPTURE(c.name);
    const Tensor expected = c.naive(c.inputs(DType::f64));
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(name(dtype));
      const auto inputs = c.inputs(dtype);
      const Var y = c.apply(std::vector<Var>(inputs.begin(), inputs.end()));
      CHECK(y.dtype() == dtype);
      CHECK_FALSE(y.recorded());  // constants in, constant out
      CHECK(relative_error(y.value(), expected) < tolerance(dtype));
    }
  }
}

TEST_CASE("gradients agree with finite differences for a random cotangent") {
  for (const OpCase& c : op_cases()) {
    CAPTURE(c.name);
    const GradcheckResult r = gradcheck(c.apply, c.inputs(DType::f64));
    CHECK_MESSAGE(r.ok, r.message);
  }
}

TEST_CASE("an op records its name, and which inputs carry the batch") {
  for (const OpCase& c : op_cases()) {
    CAPTURE(c.name);
    const Operands operands(c, DType::f32);
    Tape tape;
    const Var y = c.apply(operands.vars(tape));
    REQUIRE(y.recorded());
    const Tape::Node& n = tape.nodes().back();
    CHECK(tape.nodes().size() == operands.store.slices() + 1);  // one node per op
    CHECK(std::string(n.op.name) == c.op());
    CHECK(n.op.samples == c.samples);
    CHECK(n.shape == y.shape());
  }
}

TEST_CASE("R rows from one sweep have the bits of R sweeps, in f32 and f64") {
  for (const OpCase& c : op_cases()) {
    CAPTURE(c.name);
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(name(dtype));
      const Operands operands(c, dtype);
      Tape tape;
      const auto seeds = random_seeds(c.apply(operands.vars(tape)));
      GradientMatrix together(operands.store, kRows, dtype);
      tape.backward(seeds, kRows, &together);
      for (int r = 0; r < kRows; ++r) {
        GradientMatrix alone(operands.store, 1, dtype, Columns::all);
        Seed seed = seeds[r];
        seed.row = 0;
        tape.backward(std::span(&seed, 1), 1, &alone);
        CHECK(same_bits(together.row(r), alone.row(0)));
      }
    }
  }
}

TEST_CASE("a second use adds to the gradient, in every row") {
  for (const OpCase& c : op_cases()) {
    CAPTURE(c.name);
    const Operands operands(c, DType::f64);
    Tape tape;
    const auto vars = operands.vars(tape);
    const auto once = random_seeds(c.apply(vars));
    auto twice = once;
    for (Seed seed : random_seeds(c.apply(vars))) {
      seed.scale = 0.5;
      twice.push_back(seed);
    }
    GradientMatrix g(operands.store, kRows, DType::f64), both(operands.store, kRows, DType::f64);
    tape.backward(once, kRows, &g);
    tape.backward(twice, kRows, &both);
    for (int r = 0; r < kRows; ++r) {
      for (SliceId id = 0; id < operands.store.slices(); ++id) {
        const Tensor expected = g.slice(id, r).clone();
        for (double& v : expected.values<double>()) v *= 1.5;
        CHECK(relative_error(both.slice(id, r), expected) < 1e-12);
      }
    }
  }
}

TEST_CASE("per-sample losses: row i is what a sweep from sample i alone gives") {
  for (const OpCase& c : op_cases()) {
    if (c.samples == 0) continue;
    CAPTURE(c.name);
    for (const DType dtype : {DType::f32, DType::f64}) {
      CAPTURE(name(dtype));
      const Operands operands(c, dtype);
      Tape tape;
      const auto vars = operands.vars(tape);
      const Var y = c.apply(vars);
      const int n = static_cast<int>(y.dim(0));
      REQUIRE(n > 1);
      const Tensor cotangent = random(y.shape(), dtype, 9);
      const Var losses = sum(view(y * cotangent, {n, -1}), 1);

      GradientMatrix packed(operands.store, n, dtype), chunked(operands.store, n, dtype);
      std::vector<Tensor> at_operands;
      tape.backward_per_sample(losses, packed, {.wanted = vars, .gradients = &at_operands});
      tape.backward_per_sample(losses, chunked, {.max_rows = 2});
      for (int i = 0; i < n; ++i) {
        const Tensor alone = Tensor::zeros(y.shape(), dtype);
        alone.rows(i, i + 1).copy_from(cotangent.rows(i, i + 1));
        const Seed seed{y, 0, 1, alone};
        GradientMatrix one(operands.store, 1, dtype, Columns::all);
        tape.backward(std::span(&seed, 1), 1, &one);
        for (SliceId id = 0; id < operands.store.slices(); ++id) {
          CAPTURE(id);
          const Tensor expected = one.slice(id, 0);
          CHECK(relative_error(packed.slice(id, i), expected) < tolerance(dtype));
          CHECK(same_bits(chunked.slice(id, i), packed.slice(id, i)));
          CHECK(same_bits(at_operands[id][i], packed.slice(id, i)));
        }
      }
    }
  }
}

TEST_CASE(
    "per-sample losses stay packed through ops in a row, down to leaves and shared operands") {
  const Tensor x = random({5, 2, 6, 7}, DType::f64, 1);
  ParameterStore store;
  const Initializer normal = [](const Tensor& t, const Rng& rng) { rng.fill_normal(t, 0, 0.3); };
  const SliceId w1 = store.add("w1", {3, 2, 3, 3}, normal), b1 = store.add("b1", {3}, normal);
  const SliceId scale = store.add("scale", {3, 1, 1}, normal);
  const SliceId w2 = store.add("w2", {4, 3 * 2 * 2}, normal), b2 = store.add("b2", {4}, normal);
  const Theta theta(store, DType::f64);
  theta.initialize(Rng(1));
  const Tensor target = Tensor::from<std::int64_t>({0, 3, 1, 1, 2}, {5});

  Tape tape;
  const auto p = [&](SliceId id) { return tape.parameter(theta, id); };
  const auto net = [&](const Var& in) {
    const Var h = relu(conv2d(in, p(w1), p(b1)) * p(scale));
    const Var pooled = avg_pool2d(h, {{2, 2}});
    return cross_entropy(linear(flatten(pooled), p(w2), p(b2)), target, {0, -100, Reduction::none});
  };
  const Var leaf = tape.leaf(x);
  const Var losses = net(leaf);
  GradientMatrix g(store, 5, DType::f64);
  std::vector<Tensor> at_leaf;
  tape.backward_per_sample(losses, g, {.wanted = std::span(&leaf, 1), .gradients = &at_leaf});
  for (int i = 0; i < 5; ++i) {
    Tensor one_hot = Tensor::zeros({5}, DType::f64);
    one_hot.data<double>()[i] = 1;
    const Seed seed{losses, 0, 1, one_hot};
    GradientMatrix one(store, 1, DType::f64, Columns::all);
    std::vector<Tensor> expected;
    tape.backward(std::span(&seed, 1), 1, &one,
                  {.wanted = std::span(&leaf, 1), .gradients = &expected});
    CHECK(relative_error(g.row(i), one.row(0)) < 1e-12);
    CHECK(relative_error(at_leaf[0][i], expected[0][0]) < 1e-12);
  }
}

TEST_CASE("a constant operand gets nothing and changes nothing for the others") {
  for (const OpCase& c : op_cases()) {
    if (c.operands.size() < 2) continue;
    CAPTURE(c.name);
    const Operands operands(c, DType::f64);
    Tape full;
    const auto seeds = random_seeds(c.apply(operands.vars(full)));
    GradientMatrix expected(operands.store, kRows, DType::f64);
    full.backward(seeds, kRows, &expected);
    for (int constant = 0; constant < operands.store.slices(); ++constant) {
      CAPTURE(constant);
      Tape tape;
      GradientMatrix g(operands.store, kRows, DType::f64);
      tape.backward(random_seeds(c.apply(operands.vars(tape, constant))), kRows, &g);
      for (int r = 0; r < kRows; ++r) {
        for (SliceId id = 0; id < operands.store.slices(); ++id) {
          const Tensor row = g.slice(id, r);
          CHECK(same_bits(row, id == constant ? Tensor::zeros_like(row) : expected.slice(id, r)));
        }
      }
    }
  }
}

TEST_CASE("the watch names the op whose output has a NaN") {
  for (const OpCase& c : op_cases()) {
    CAPTURE(c.name);
    Tape tape;
    std::vector<Var> vars;
    for (const Tensor& t : c.inputs(DType::f32)) {
      t.fill(std::numeric_limits<double>::quiet_NaN());
      vars.push_back(tape.leaf(t));
    }
    tape.watch_nonfinite(true);
    const std::string text = error_text<NumericError>([&] { c.apply(vars); });
    CHECK(text.starts_with(c.op() + ": the output has "));
  }
}

TEST_CASE("the watch names the op whose gradient has an infinity") {
  Tape tape;
  tape.watch_nonfinite(true);
  const Var x = tape.leaf(Tensor::from<float>({1, 0, 4}, {3}));
  const Seed seed{sum(sqrt(x)), 0, 1, {}};
  std::vector<Tensor> gradients;
  CHECK(error_text<NumericError>([&] {
          tape.backward(std::span(&seed, 1), 1, nullptr,
                        {.wanted = std::span(&x, 1), .gradients = &gradients});
        }) ==
        "sqrt: the gradient of input 0 has 1 of 3 values that are not finite\n"
        "  output  f32[3]\n"
        "  input   f32[3]");
}

TEST_CASE("views share memory; other ops do not") {
  const Tensor x = random({4, 6}, DType::f32, 0);
  CHECK(view(x, {3, -1}).value().shares_memory_with(x));
  CHECK(flatten(Var(x), 0).value().shares_memory_with(x));
  CHECK_FALSE(slice(x, 0, 0, 4).value().shares_memory_with(x));
  CHECK_FALSE(relu(x).value().shares_memory_with(x));
}

TEST_CASE("an op keeps only what its derivative reads") {
  const auto in_use = [] { return Allocator::of(kCpu).stats().in_use; };
  // Whether the memory of the op's output is free once nobody but the tape could hold it.
  const auto lets_go_of_output = [&](const std::function<Var(const Var&)>& f) {
    Tape tape;
    Var y = f(tape.leaf(random({1000}, DType::f32, 0)));
    const std::size_t before = in_use();
    y = Var();
    return in_use() < before;
  };
  CHECK(lets_go_of_output([](const Var& x) { return x + 1; }));
  CHECK(lets_go_of_output([](const Var& x) { return x + x; }));
  CHECK(lets_go_of_output([](const Var& x) { return square(x); }));
  CHECK_FALSE(lets_go_of_output([](const Var& x) { return relu(x); }));
  CHECK_FALSE(lets_go_of_output([](const Var& x) { return x / x; }));
  // And of its input: relu is the only one who held it.
  const auto lets_go_of_input = [&](const std::function<Var(const Var&)>& f) {
    Tape tape;
    Var x = tape.leaf(random({1000}, DType::f32, 0));
    const Var y = f(x);
    const std::size_t before = in_use();
    x = Var();
    return in_use() < before;
  };
  CHECK(lets_go_of_input([](const Var& x) { return relu(x); }));
  CHECK_FALSE(lets_go_of_input([](const Var& x) { return square(x); }));
  CHECK_FALSE(lets_go_of_input([](const Var& x) { return x * x; }));
}

TEST_CASE("batch_norm moves the running statistics in training only") {
  const Tensor x = random({4, 3, 5, 2}, DType::f64, 2);
  const Tensor mean = Tensor::zeros({3}, DType::f64), var = Tensor::full({3}, 1, DType::f64);
  batch_norm(x, {}, {}, mean, var, false);
  CHECK(mean.at({1}) == 0);
  batch_norm(x, {}, {}, mean, var, true, {.momentum = 0.25});
  double sum = 0, squares = 0;
  for (index_t n = 0; n < 4; ++n) {
    for (index_t i = 0; i < 10; ++i) {
      const double v = x.at({n, 1, i / 2, i % 2});
      sum += v;
      squares += v * v;
    }
  }
  CHECK(mean.at({1}) == doctest::Approx(0.25 * sum / 40));
  CHECK(var.at({1}) == doctest::Approx(0.75 + 0.25 * (squares - sum * sum / 40) / 39));  // unbiased
}

TEST_CASE("batch_norm's evaluation gradient uses the statistics of its own forward pass") {
  const Tensor x = random({4, 3}, DType::f64, 2), mean = Tensor::zeros({3}, DType::f64);
  const Tensor var = Tensor::full({3}, 1, DType::f64);
  Tape tape;
  const Var leaf = tape.leaf(x);
  const Var y = batch_norm(leaf, {}, {}, mean, var, false, {.eps = 0});
  batch_norm(x, {}, {}, mean, var, true, {.momentum = 1});
  const Seed seed{sum(y), 0, 1, {}};
  std::vector<Tensor> gradients;
  tape.backward(std::span(&seed, 1), 1, nullptr,
                {.wanted = std::span(&leaf, 1), .gradients = &gradients});
  CHECK(gradients[0].at({0, 3, 2}) == 1);
}

TEST_CASE("cross_entropy: the mean over no targets is NaN, as in PyTorch; the sum is 0") {
  const Tensor x = random({3, 4}, DType::f32, 1);
  const Tensor none = Tensor::from<std::int64_t>({-100, -100, -100}, {3});
  CHECK(std::isnan(cross_entropy(x, none).item()));
  CHECK(cross_entropy(x, none, {0, -100, Reduction::sum}).item() == 0);
}

TEST_CASE("dropout scales what it keeps and is the identity for p = 0") {
  const Tensor x = Tensor::full({1000}, 1, DType::f32);
  const Var y = dropout(x, 0.25, Rng(4));
  int kept = 0;
  for (const float v : y.value().values<float>()) {
    CHECK((v == 0 || v == doctest::Approx(4.0 / 3)));
    kept += v != 0;
  }
  CHECK(kept > 700);
  CHECK(kept < 800);
  CHECK(same_bits(dropout(x, 0, Rng(4)).value(), x));
}

TEST_CASE("more than 32 parts can be concatenated, per-sample losses included") {
  ParameterStore store;
  const SliceId w = store.add("w", {3, 1}, {});
  const Theta theta(store, DType::f64);
  theta.values().fill(2);
  Tape tape;
  std::vector<Var> parts(40, tape.parameter(theta, w));
  const Var all = concat(parts, 1);
  CHECK(all.shape() == Shape{3, 40});
  GradientMatrix g(store, 3, DType::f64);
  tape.backward_per_sample(sum(all * all, 1), g);
  CHECK(g.slice(w, 1).at({1, 0}) == 160);
  CHECK(g.slice(w, 1).at({0, 0}) == 0);
}
