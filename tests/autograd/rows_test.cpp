// Where the rows of a sweep go: kept, streamed, added up; and the Gram matrices formed on the way.
// One network with all that makes this difficult: batch norm, a weight used twice, a frozen part, a
// part that one task alone reaches, heads of unequal size, a task that may be absent.
#include <concord/autograd/context.h>
#include <concord/autograd/ops.h>
#include <concord/autograd/tape.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

using namespace concord;
using concord::testing::error_text;
using concord::testing::relative_error;

namespace {

constexpr int kTasks = 3;
constexpr index_t kBatch = 5;

void normal(const Tensor& t, const Rng& rng) { rng.fill_normal(t, 0, 0.5); }

struct Net {
  ParameterStore store;
  SliceId conv, conv_bias, norm, norm_bias, wide, wide_bias, tied, frozen, only0, unused;
  SliceId head[kTasks];
  Theta theta;
  Tensor x;

  explicit Net(DType dtype)
      : conv(store.add("conv.weight", {4, 2, 3, 3}, normal)),
        conv_bias(store.add("conv.bias", {4}, normal)),
        norm(store.add("norm.weight", {4}, normal)),
        norm_bias(store.add("norm.bias", {4}, normal)),
        wide(store.add("wide.weight", {11, 64}, normal)),
        wide_bias(store.add("wide.bias", {11}, normal)),
        tied(store.add("tied.weight", {11, 11}, normal)),
        frozen(store.add("frozen.weight", {11, 11}, normal)),
        only0(store.add("only0.weight", {11, 11}, normal)),
        unused(store.add("unused", {7}, normal)),
        head{store.add("head0", {3, 11}, normal, 0), store.add("head1", {6, 11}, normal, 1),
             store.add("head2", {2, 11}, normal, 2)},
        theta(store, dtype) {
    store.slice(frozen).frozen = true;
    theta.initialize(Rng(3));
    x = Tensor::empty({kBatch, 2, 9, 9});
    Rng(4).fill_normal(x, 0, 1);
    x = x.to(dtype);
  }

  std::vector<Var> losses(Tape& tape) const {
    const Context ctx{.theta = &theta, .tape = &tape};
    const auto p = [&](SliceId id) { return ctx.parameter(id); };
    Var h = conv2d(x, p(conv), p(conv_bias), {.stride = {2, 2}});
    h = relu(batch_norm(h, p(norm), p(norm_bias), {}, {}, true));
    h = tanh(linear(flatten(h), p(wide), p(wide_bias)));
    h = tanh(linear(h, p(tied)));
    h = linear(tanh(linear(h, p(frozen))), p(tied));
    return {mean(square(linear(tanh(linear(h, p(only0))), p(head[0])))),
            mean(exp(linear(tanh(h), p(head[1])))), sum(sigmoid(linear(h, p(head[2]))))};
  }
  /// All but task 1.
  std::vector<Seed> without_one(Tape& tape) const {
    const auto all = losses(tape);
    return {{all[0], 0, 1, {}}, {all[2], 2, 1, {}}};
  }
};

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

template <class T>
bool same_bits(kernels::Rows<T> a, kernels::Rows<T> b, index_t n) {
  if (a.count != b.count) return false;
  for (int r = 0; r < a.count; ++r) {
    if (std::memcmp(a[r], b[r], static_cast<std::size_t>(n) * sizeof(T)) != 0) return false;
  }
  return true;
}

}  // namespace

TEST_CASE_TEMPLATE("streamed rows have the bits of kept ones and are all reported", T, float,
                   double) {
  const Net net(dtype_of<T>);
  Tape tape;
  const auto seeds = net.without_one(tape);
  GradientMatrix kept(net.store, kTasks, dtype_of<T>);
  tape.backward(seeds, kTasks, &kept);
  GradientMatrix streamed(net.store, kTasks, dtype_of<T>, Columns::shared, kCpu,
                          RowStorage::streamed);
  for (int sweep = 0; sweep < 2; ++sweep) {
    std::vector<SliceId> seen;
    tape.backward(seeds, kTasks, &streamed, {.on_complete = [&](SliceId id) {
                    seen.push_back(id);
                    CHECK(same_bits(streamed.slice_rows<T>(id), kept.slice_rows<T>(id),
                                    net.store.slice(id).shape.numel()));
                  }});
    std::sort(seen.begin(), seen.end());
    CHECK(seen == std::vector<SliceId>{net.conv, net.conv_bias, net.norm, net.norm_bias, net.wide,
                                       net.wide_bias, net.tied, net.only0, net.head[0],
                                       net.head[2]});
    CHECK(same_bits(streamed.heads(), kept.heads()));
  }
  CHECK(error_text<UsageError>([&] { streamed.slice(net.wide, 0); }) ==
        "gradient matrix: the rows of 'wide.weight' are not kept, they can only be read when a "
        "sweep reports them complete");
  CHECK(error_text<UsageError>([&] { tape.backward(seeds, kTasks, &streamed, {.add = true}); }) ==
        "backward: the rows of 'conv.weight' were not kept and cannot be added to");
  CHECK(error_text<UsageError>([&] { tape.backward(seeds, kTasks, &streamed, {.max_rows = 2}); }) ==
        "backward: 3 rows in parts of 2, rows that are not kept need one part");
}

TEST_CASE("scratch holds no more than the largest layer, and what is shared with it") {
  ParameterStore store;
  std::vector<SliceId> weights, biases;
  const index_t width[] = {20, 70, 65, 90, 33};
  for (int l = 0; l < 4; ++l) {
    weights.push_back(store.add("w" + std::to_string(l), {width[l + 1], width[l]}, normal));
    biases.push_back(store.add("b" + std::to_string(l), {width[l + 1]}, normal));
  }
  Theta theta(store);
  theta.initialize(Rng(3));
  const Tensor x = Tensor::full({6, 20}, 0.5);
  GradientMatrix g(store, 2, DType::f32, Columns::shared, kCpu, RowStorage::streamed);
  const auto padded = [](index_t n) { return (n + 63) / 64 * 64; };
  // 65 x 90 and its bias; no stride of these is a multiple of 4 KiB.
  const auto layer = static_cast<std::size_t>(2 * (padded(65 * 90) + padded(90)) * 4);
  for (int step = 0; step < 3; ++step) {
    Tape tape;
    const Context ctx{.theta = &theta, .tape = &tape};
    Var h = x;
    for (int l = 0; l < 4; ++l) {
      h = tanh(linear(h, ctx.parameter(weights[l]), ctx.parameter(biases[l])));
    }
    tape.backward({sum(h), sum(square(h))}, g);
    CHECK(g.scratch_peak() == layer);
  }
}

TEST_CASE_TEMPLATE("sweeps that add up are one sweep of the summed losses", T, float, double) {
  const Net net(dtype_of<T>);
  Tape tape;
  const auto losses = net.losses(tape);
  GradientMatrix once(net.store, kTasks, dtype_of<T>), twice(net.store, kTasks, dtype_of<T>);
  // Task 1 has no part in the first micro-batch; `only0` has none in the second.
  const std::vector<Seed> first{{losses[0], 0, 1, {}}, {losses[2], 2, 0.5, {}}};
  const std::vector<Seed> second{{losses[1], 1, 2, {}}, {losses[2], 2, 0.25, {}}};
  tape.backward(std::vector<Seed>{{losses[0], 0, 1, {}},
                                  {losses[2], 2, 0.5, {}},
                                  {losses[1], 1, 2, {}},
                                  {losses[2], 2, 0.25, {}}},
                kTasks, &once);
  tape.backward(losses, twice);  // to be overwritten
  tape.backward(first, kTasks, &twice);
  tape.backward(second, kTasks, &twice, {.add = true});
  const double tolerance = sizeof(T) == 4 ? 1e-6 : 1e-14;
  for (int t = 0; t < kTasks; ++t) {
    CHECK(relative_error(twice.row(t), once.row(t)) < tolerance);
  }
  CHECK(relative_error(twice.heads(), once.heads()) < tolerance);
}

TEST_CASE("a second, weighted sweep gives the direction of the trunk and leaves the heads out") {
  const Net net(DType::f64);
  Tape tape;
  const auto losses = net.losses(tape);
  GradientMatrix g(net.store, kTasks, DType::f64);
  GradientMatrix direction(net.store, 1, DType::f64, Columns::trunk);
  CHECK(direction.heads().numel() == 0);
  tape.backward(losses, g);
  const double weight[] = {0.75, -2, 0.5};
  std::vector<Seed> seeds;
  for (int t = 0; t < kTasks; ++t) seeds.push_back({losses[t], 0, weight[t], {}});
  tape.backward(seeds, 1, &direction);
  Tensor expected = Tensor::zeros({g.columns()}, DType::f64);
  for (int t = 0; t < kTasks; ++t) {
    for (index_t i = 0; i < g.columns(); ++i)
      expected.data<double>()[i] += weight[t] * g.row(t).at({i});
  }
  CHECK(relative_error(direction.row(0), expected) < 1e-13);
}
