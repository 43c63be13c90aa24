// Tests of the CUDA kernels beside the CPU's: the same call on both sides, over the same numbers.
//
// A call is a functor f(side, kernels, ...) that takes its operands from Operand::on(side).
#pragma once

#include <concord/tests/cuda/device.h>
#include <concord/tests/kernels/rows.h>

#include <initializer_list>
#include <utility>

namespace concord::kernels::test {

using testing::device_tolerance;
using testing::OnDevice;

enum class Side { cpu, cuda };

template <class T>
const Kernels<T>& table_of(Side side) {
  return side == Side::cpu ? cpu_table<T>() : concord::cuda::table<T>(0);
}

/// Values that a kernel reads.
template <class T>
class Operand {
 public:
  explicit Operand(std::vector<T> values) : host_(std::move(values)), device_(host_) {}
  const T* on(Side side) const { return side == Side::cpu ? host_.data() : device_.data(); }

 private:
  std::vector<T> host_;
  OnDevice<T> device_;
};

/// A Block with a copy on the device; rows through the reversing map, or in their own order.
template <class T>
class Rowed {
 public:
  Rowed(const Block<T>& block, bool mapped)
      : host_(block), mapped_(mapped), device_(block.memory()) {}
  Rows<T> on(Side side, bool accumulate = false) {
    Rows<T> rows = host_.rows(accumulate);
    if (side == Side::cuda) rows.base = device_.data() + Block<T>::kGap;
    if (!mapped_) rows.map = nullptr;
    return rows;
  }
  std::vector<T> memory(Side side) const {
    return side == Side::cpu ? host_.memory() : device_.values();
  }

 private:
  Block<T> host_;
  bool mapped_;
  OnDevice<T> device_;
};

/// Everything outside the rows is as it was: both sides start from the same memory, and the CPU's
/// kernels have tests of their own for that.
template <class T>
bool canaries_alive(const std::vector<T>& got, const std::vector<T>& start) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (start[i] == T(-12345.5) && got[i] != start[i]) return false;
  return true;
}

/// call(side, kernels, In<T> gy, Out<T> out) for rows of `in` and `out` elements: equal on both
/// sides, writing and adding, with and without a map; each row alone has the same bits.
template <class T, class Call>
void check_sides(index_t in, index_t out, Call call,
                 std::initializer_list<std::int32_t> counts = {1, 3},
                 double tolerance = device_tolerance<T>()) {
  for (const std::int32_t count : counts) {
    const Block<T> seeds = Block<T>::normal("gy", in, count);
    const Block<T> start = Block<T>::normal("start", out, count);
    for (const bool accumulate : {false, true}) {
      CAPTURE(count);
      CAPTURE(accumulate);
      const bool mapped = accumulate;  // either map with either way of writing would be as good
      Rowed<T> gy(seeds, mapped), got(start, mapped), alone(start, mapped);
      for (const Side side : {Side::cpu, Side::cuda})
        call(side, table_of<T>(side), gy.on(side), got.on(side, accumulate));
      const std::vector<T> result = got.memory(Side::cuda);
      CHECK(difference(result, got.memory(Side::cpu)) <= tolerance);
      CHECK(canaries_alive(result, start.memory()));
      for (std::int32_t r = 0; r < count; ++r) {
        call(Side::cuda, table_of<T>(Side::cuda), gy.on(Side::cuda).one(r),
             alone.on(Side::cuda, accumulate).one(r));
      }
      const std::vector<T> rows_alone = alone.memory(Side::cuda);
      CHECK(std::memcmp(rows_alone.data(), result.data(), result.size() * sizeof(T)) == 0);
    }
  }
}

/// call(side, kernels, T* out) for a kernel without rows; with canaries around `out`.
template <class T, class Table = T, class Call>
void check_sides_plain(index_t out, Call call, double tolerance = device_tolerance<T>()) {
  const Block<T> start = Block<T>::normal("start", out, 1);
  Rowed<T> got(start, false);
  for (const Side side : {Side::cpu, Side::cuda})
    call(side, table_of<Table>(side), got.on(side)[0]);
  const std::vector<T> result = got.memory(Side::cuda);
  CHECK(difference(result, got.memory(Side::cpu)) <= tolerance);
  CHECK(canaries_alive(result, start.memory()));
}

}  // namespace concord::kernels::test
