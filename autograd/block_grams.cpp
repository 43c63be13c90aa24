#include <concord/autograd/block_grams.h>
#include <concord/tensor/kernels/kernels.h>

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace concord {
namespace {

// What the kernels reach on two cores of a server of 2024; only the ratios matter to a choice.
constexpr double kFloatFlops = 2.0e11;   // matrix products in f32; half of it in f64
constexpr double kDoubleFlops = 1.0e11;  // those of linear_gram, and the sums of Gram matrices
constexpr double kBytes = 5e10;          // memory traffic

}  // namespace

BlockGrams::BlockGrams(const ParameterStore& store, int tasks, std::vector<int> block_of_slice)
    : store_(store), tasks_(tasks), block_of_slice_(std::move(block_of_slice)) {
  const auto slices = static_cast<std::size_t>(store.slices());
  if (block_of_slice_.empty()) block_of_slice_.assign(slices, 0);
  if (block_of_slice_.size() != slices) {
    throw ShapeError(
        fmt::format("block grams: {} blocks given for {} slices", block_of_slice_.size(), slices));
  }
  for (const int block : block_of_slice_) blocks_ = std::max(blocks_, block + 1);
  grams_.resize(static_cast<std::size_t>(blocks_) * tasks * tasks);
  choice_of_slice_.assign(slices, -1);
}

std::span<const double> BlockGrams::operator[](int block) const {
  const auto size = static_cast<std::size_t>(tasks_) * tasks_;
  return {grams_.data() + static_cast<std::size_t>(block) * size, size};
}

void BlockGrams::begin(DType dtype, Device device, double sweep_flops) {
  std::fill(grams_.begin(), grams_.end(), 0.0);
  shares_.clear();
  share_rows_.clear();
  used_ = 0;
  // On the CPU a share is added up before the next one is formed.
  const index_t covered = device == kCpu
                              ? 1
                              : std::count_if(block_of_slice_.begin(), block_of_slice_.end(),
                                              [](int block) { return block >= 0; });
  const index_t size = covered * tasks_ * tasks_;
  if (!partials_.defined() || !(partials_.device() == device) || partials_.numel() < size)
    partials_ = Tensor::empty({size}, DType::f64, device);
  choices_.clear();
  std::fill(choice_of_slice_.begin(), choice_of_slice_.end(), -1);
  flop_rate_ = dtype == DType::f32 ? kFloatFlops : kFloatFlops / 2;
  element_bytes_ = static_cast<double>(size_of(dtype));
  estimate_ = {0, sweep_flops / flop_rate_};
}

BlockGrams::Choice& BlockGrams::choice(SliceId id) {
  int& at = choice_of_slice_[static_cast<std::size_t>(id)];
  if (at < 0) {
    at = static_cast<int>(choices_.size());
    choices_.push_back({id, false, 0, std::numeric_limits<double>::infinity(), 0});
  }
  return choices_[static_cast<std::size_t>(at)];
}

void BlockGrams::settle(Choice& c, std::size_t rows) {
  const auto r = static_cast<double>(rows);
  const auto size = static_cast<double>(store_.slice(c.slice).shape.numel());
  const double traffic = r * size * element_bytes_ / kBytes;
  c.rows_seconds += r * (r + 1) * size / kDoubleFlops + traffic;
  estimate_.with_g += c.rows_seconds + traffic;
  estimate_.without_g += std::min(c.rows_seconds, c.products_seconds);
}

bool BlockGrams::choose(SliceId id, const GramCosts& costs, int rows, bool alone,
                        bool rows_wanted) {
  Choice& c = choice(id);
  c.rows_seconds += rows * costs.gradient / flop_rate_;
  if (!alone || costs.columns == 0) return false;
  const auto r = static_cast<double>(rows);
  c.products_seconds = (costs.once + r * costs.each + r * (r + 1) * costs.columns) / kDoubleFlops;
  if (rows_wanted || way == Way::rows) return false;
  Choice both = c;
  const Estimate before = estimate_;
  settle(both, static_cast<std::size_t>(rows));
  both.by_products = way == Way::products || both.products_seconds < both.rows_seconds;
  if (both.by_products)
    c = both;
  else
    estimate_ = before;
  return both.by_products;
}

double* BlockGrams::partial(int rows) {
  return partials_.rows(used_, used_ + index_t{rows} * rows).data<double>();
}

void BlockGrams::add(SliceId id, std::span<const std::int32_t> rows) {
  shares_.push_back({static_cast<std::size_t>(block_of_slice_[static_cast<std::size_t>(id)]),
                     share_rows_.size(), rows.size()});
  share_rows_.insert(share_rows_.end(), rows.begin(), rows.end());
  used_ += static_cast<index_t>(rows.size() * rows.size());
  if (partials_.device() == kCpu) {
    download();
    add_up();
  }
}

void BlockGrams::download() {
  if (used_ > 0) downloaded_ = partials_.rows(0, used_).download();
}

void BlockGrams::add_up() {
  const double* from = shares_.empty() ? nullptr : downloaded_.data<double>();
  for (const Share& share : shares_) {
    double* const gram = grams_.data() + share.block * tasks_ * tasks_;
    const auto rows = std::span(share_rows_).subspan(share.first_row, share.rows);
    for (const std::int32_t i : rows) {
      for (const std::int32_t j : rows) gram[i * tasks_ + j] += *from++;
    }
  }
  shares_.clear();
  share_rows_.clear();
  used_ = 0;
  downloaded_ = {};
}

void BlockGrams::add_rows(const GradientMatrix& g, SliceId id, std::span<const std::int32_t> rows) {
  const index_t size = store_.slice(id).shape.numel();
  double* const out = partial(static_cast<int>(rows.size()));
  const auto gram = [&]<class Row>(auto kernel) {
    kernels::Rows<Row> r = g.slice_rows<Row>(id);
    r.map = rows.data();
    r.count = static_cast<std::int32_t>(rows.size());
    kernel(size, r, out);
  };
  kernels::on(g.heads(), [&]<class T>(const kernels::Kernels<T>& k) {
    if (g.storage() == RowStorage::bf16)
      gram.template operator()<BFloat16>(k.gram_bf16);
    else
      gram.template operator()<T>(k.gram);
  });
  add(id, rows);
  settle(choice(id), rows.size());
}

std::string BlockGrams::describe() const {
  std::string out = fmt::format("{:<32} {:<8} {:>12} {:>12} {:>12}\n", "us", "way", "rows",
                                "products", "measured");
  for (const Choice& c : choices_) {
    out += fmt::format("{:<32} {:<8} {:>12.1f} {:>12.1f} {:>12.1f}\n", store_.slice(c.slice).name,
                       c.by_products ? "products" : "rows", c.rows_seconds * 1e6,
                       c.products_seconds * 1e6, c.seconds * 1e6);
  }
  return out;
}

}  // namespace concord
