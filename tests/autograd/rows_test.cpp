// Where the rows of a sweep go: kept, streamed, added up; and the Gram matrices formed on the way.
// One network with all that makes this difficult: batch norm, a weight used twice, a frozen part, a
// part that one task alone reaches, heads of unequal size, a task that may be absent.
#include <concord/autograd/context.h>
#include <concord/autograd/ops.h>
#include <concord/autograd/tape.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
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

namespace {

/// The largest difference of inner products, relative to the norms of their rows.
template <class T>
double gram_error(std::span<const double> gram, const GradientMatrix& g,
                  std::span<const SliceId> slices) {
  const int tasks = g.tasks();
  std::vector<double> expected(static_cast<std::size_t>(tasks * tasks));
  for (const SliceId id : slices) {
    const auto rows = g.slice_rows<T>(id);
    for (int i = 0; i < tasks; ++i)
      for (int j = 0; j < tasks; ++j)
        for (index_t c = 0; c < g.store().slice(id).shape.numel(); ++c)
          expected[static_cast<std::size_t>(i * tasks + j)] +=
              static_cast<double>(rows[i][c]) * static_cast<double>(rows[j][c]);
  }
  double worst = 0;
  for (int i = 0; i < tasks; ++i) {
    for (int j = 0; j < tasks; ++j) {
      const auto at = [&](int r, int s) { return static_cast<std::size_t>(r * tasks + s); };
      const double error = std::abs(gram[at(i, j)] - expected[at(i, j)]);
      const double scale = std::sqrt(expected[at(i, i)] * expected[at(j, j)]);
      if (!(error <= worst * scale)) worst = scale > 0 ? error / scale : error == 0 ? worst : 1e300;
    }
  }
  return worst;
}

bool by_products(const BlockGrams& grams, SliceId id) {
  for (const auto& c : grams.choices())
    if (c.slice == id) return c.by_products;
  return false;
}

}  // namespace

TEST_CASE_TEMPLATE("Gram matrices formed during a sweep are those of its rows, with and without G",
                   T, float, double) {
  const Net net(dtype_of<T>);
  Tape tape;
  const auto all = net.losses(tape);
  const std::vector<Seed> everybody{{all[0], 0, 1, {}}, {all[1], 1, 1, {}}, {all[2], 2, 1, {}}};
  const std::vector<Seed> without_one{{all[0], 0, 1, {}}, {all[2], 2, 1, {}}};
  // Block 0: convolution and norm; block 1: all linear layers; the bias of `wide` in none.
  std::vector<int> block(static_cast<std::size_t>(net.store.slices()), 1);
  const std::vector<SliceId> first{net.conv, net.conv_bias, net.norm, net.norm_bias},
      second{net.wide, net.tied, net.only0};
  for (const SliceId id : first) block[static_cast<std::size_t>(id)] = 0;
  block[static_cast<std::size_t>(net.wide_bias)] = -1;
  BlockGrams grams(net.store, kTasks, block);
  CHECK(grams.blocks() == 2);

  const double tolerance = sizeof(T) == 4 ? 1e-5 : 1e-13;
  for (const auto* seeds : {&everybody, &without_one}) {
    CAPTURE(seeds->size());
    GradientMatrix g(net.store, kTasks, dtype_of<T>);
    GradientMatrix streamed(net.store, kTasks, dtype_of<T>, Columns::shared, kCpu,
                            RowStorage::streamed);
    tape.backward(*seeds, kTasks, &g, {.grams = &grams});
    CHECK(gram_error<T>(grams[0], g, first) < 1e-13);
    CHECK(gram_error<T>(grams[1], g, second) < 1e-13);
    CHECK_FALSE(by_products(grams, net.wide));
    for (const auto way : {BlockGrams::Way::rows, BlockGrams::Way::products}) {
      grams.way = way;
      for (int repeat = 0; repeat < 2; ++repeat) {
        tape.backward(*seeds, kTasks, &streamed, {.grams = &grams});
        CHECK(gram_error<T>(grams[0], g, first) < 1e-13);
        CHECK(gram_error<T>(grams[1], g, second) < tolerance);
        CHECK(same_bits(streamed.heads(), g.heads()));
      }
      const bool products = way == BlockGrams::Way::products;
      CHECK(by_products(grams, net.wide) == products);
      CHECK(by_products(grams, net.only0) == products);
      CHECK_FALSE(by_products(grams, net.tied));  // used twice: cross terms
      CHECK_FALSE(by_products(grams, net.norm));
    }
    // Rows that somebody wants to see are formed.
    int seen = 0;
    tape.backward(*seeds, kTasks, &streamed,
                  {.grams = &grams, .on_complete = [&](SliceId id) { seen += id == net.wide; }});
    CHECK(seen == 1);
    CHECK_FALSE(by_products(grams, net.wide));
    grams.way = BlockGrams::Way::cheaper;
  }
}

TEST_CASE("the cost model picks by the sizes and says so") {
  ParameterStore store;
  const SliceId deep = store.add("deep", {80, 300}, normal),
                flat = store.add("flat", {64, 3}, normal);
  Theta theta(store);
  theta.initialize(Rng(3));
  Tape tape;
  const Context ctx{.theta = &theta, .tape = &tape};
  const Tensor x = Tensor::full({8, 300}, 0.5), many = Tensor::full({700, 3}, 0.25);
  const Var a = linear(x, ctx.parameter(deep)), b = linear(many, ctx.parameter(flat));
  const std::vector<Var> losses{sum(square(a)) + sum(b), sum(tanh(a)) + sum(square(b))};
  GradientMatrix g(store, 2, DType::f32, Columns::shared, kCpu, RowStorage::streamed);
  BlockGrams grams(store, 2);
  tape.backward(losses, g, {.grams = &grams});
  CHECK(by_products(grams, deep));        // 8 samples of 300 values
  CHECK_FALSE(by_products(grams, flat));  // 700 samples of 3
  REQUIRE(grams.choices().size() == 2);
  for (const auto& c : grams.choices())
    CHECK((c.products_seconds < c.rows_seconds) == c.by_products);
  CHECK(grams.describe().find("deep") != std::string::npos);
  CHECK(grams.estimate().with_g > 0);
  CHECK(grams.estimate().without_g > 0);
  CHECK(g.scratch_peak() < 3 * 2 * 4 * (64 * 3 + 64));  // `deep` never had rows
  CHECK(error_text<UsageError>([&] {
          BlockGrams three(store, 3);
          tape.backward(losses, g, {.grams = &three});
        }) == "backward: Gram matrices of 3 tasks need a gradient matrix of as many rows");
  CHECK(error_text<ShapeError>([&] { BlockGrams(store, 2, {0}); }) ==
        "block grams: 1 blocks given for 2 slices");
}

TEST_CASE_TEMPLATE("per-sample losses: the Gram matrix without the rows", T, float, double) {
  ParameterStore store;
  const SliceId w = store.add("w", {6, 9}, normal), b = store.add("b", {6}, normal),
                v = store.add("v", {4, 6}, normal), u = store.add("u", {5, 2}, normal);
  Theta theta(store, dtype_of<T>);
  theta.initialize(Rng(3));
  Tensor x = Tensor::empty({7, 9});
  Rng(4).fill_normal(x, 0, 1);
  Tape tape;
  const Context ctx{.theta = &theta, .tape = &tape};
  const Var h = tanh(linear(x.to(dtype_of<T>), ctx.parameter(w), ctx.parameter(b)));
  const Var pairs = view(h, {7, 3, 2});  // three vectors per sample: no shorter way
  const Var losses = sum(square(linear(h, ctx.parameter(v))), 1) +
                     sum(view(tanh(linear(pairs, ctx.parameter(u))), {7, 15}), 1);
  GradientMatrix g(store, 7, dtype_of<T>, Columns::all);
  GradientMatrix streamed(store, 7, dtype_of<T>, Columns::all, kCpu, RowStorage::streamed);
  BlockGrams grams(store, 7);
  grams.way = BlockGrams::Way::products;
  tape.backward_per_sample(losses, g);
  tape.backward_per_sample(losses, streamed, {.grams = &grams});
  CHECK(by_products(grams, w));
  CHECK(by_products(grams, v));
  CHECK_FALSE(by_products(grams, u));
  CHECK(gram_error<T>(grams[0], g, std::vector<SliceId>{w, b, v, u}) <
        (sizeof(T) == 4 ? 1e-5 : 1e-13));
}

TEST_CASE("rows kept as bf16 are the rounded rows, and nothing else of them is kept") {
  const Net net(DType::f32);
  Tape tape;
  const auto seeds = net.without_one(tape);
  GradientMatrix full(net.store, kTasks);
  Allocator& memory = Allocator::of(kCpu);
  const std::size_t before = memory.stats().in_use;
  GradientMatrix half(net.store, kTasks, DType::f32, Columns::shared, kCpu, RowStorage::bf16);
  CHECK(half.rows<BFloat16>().stride == full.rows<float>().stride);
  const std::size_t own = memory.stats().in_use - before;
  CHECK(own < static_cast<std::size_t>(kTasks * full.rows<float>().stride) * 2 * 5 / 4 +
                  full.heads().bytes() + 1024);
  tape.backward(seeds, kTasks, &full);
  BlockGrams grams(net.store, kTasks);
  std::vector<SliceId> shared;
  tape.backward(seeds, kTasks, &half, {.grams = &grams});
  for (SliceId id = 0; id < net.store.slices(); ++id) {
    if (net.store.slice(id).group != kShared) continue;
    shared.push_back(id);
    for (int t = 0; t < kTasks; ++t)
      CHECK(same_bits(half.slice(id, t), full.slice(id, t).to(DType::bf16)));
  }
  CHECK(same_bits(half.heads(), full.heads()));
  CHECK(gram_error<BFloat16>(grams[0], half, shared) < 1e-13);
  CHECK(gram_error<float>(grams[0], full, shared) < 1e-2);  // 2^-8 per element
  CHECK(half.scratch_peak() < static_cast<std::size_t>(kTasks) * 4 * (11 * 64 + 3 * 64 + 4 * 64));

  // Adding rounds the sum once more; what was zero stays so.
  tape.backward(seeds, kTasks, &half, {.add = true});
  for (const SliceId id : shared) {
    const Tensor twice = half.slice(id, 0).to(DType::f32), once = full.slice(id, 0);
    for (index_t i = 0; i < once.numel(); ++i) {
      const double x = once.data<float>()[i];
      CHECK(std::abs(twice.data<float>()[i] - 2 * x) <= 0x1p-7 * std::abs(2 * x));
    }
    CHECK(relative_error(half.slice(id, 1), Tensor::zeros_like(once)) == 0);
  }
  CHECK(error_text<DTypeError>([&] {
          GradientMatrix(net.store, kTasks, DType::f64, Columns::shared, kCpu, RowStorage::bf16);
        }) == "gradient matrix: rows of bf16 are rounded from f32, not from f64");
}

TEST_CASE("steady sweeps ask the system for no memory, whatever becomes of the rows") {
  const Net net(DType::f32);
  for (const RowStorage storage : {RowStorage::full, RowStorage::bf16, RowStorage::streamed}) {
    GradientMatrix g(net.store, kTasks, DType::f32, Columns::shared, kCpu, storage);
    BlockGrams grams(net.store, kTasks);
    grams.way = BlockGrams::Way::products;
    Tape tape;
    const auto step = [&] {
      tape.reset();
      tape.backward(net.losses(tape), g, {.grams = &grams});
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
}
