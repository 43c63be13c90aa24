// What the tests of the CUDA part share: vectors and rows in device memory, and the same call made
// to the CPU's table.
#pragma once

#include <concord/tensor/kernels/cpu/kernels_cpu.h>
#include <concord/tensor/kernels/cuda/cuda.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace concord::testing {

/// A vector in the memory of cuda:0, of exactly its size: accesses beyond it show under the
/// address sanitiser. Absent when empty.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(std::vector<T> values) : size_(values.size()) {
    if (size_ == 0) return;
    memory_ = cuda::allocate(0, size_ * sizeof(T));
    set(values);
  }
  OnDevice(std::size_t size, T value) : OnDevice(std::vector<T>(size, value)) {}
  ~OnDevice() {
    if (memory_) cuda::release(0, memory_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* data() const { return reinterpret_cast<T*>(memory_); }
  operator T*() const { return data(); }
  std::size_t size() const { return size_; }
  void set(const std::vector<T>& values) {
    cuda::upload(0, memory_, values.data(), size_ * sizeof(T));
  }
  /// Waits.
  std::vector<T> values() const {
    std::vector<T> v(size_);
    if (size_) cuda::download(0, v.data(), memory_, size_ * sizeof(T));
    return v;
  }

 private:
  std::size_t size_;
  std::byte* memory_ = nullptr;
};

/// A vector on the host and its copy in device memory, for calls that are made to both tables:
/// host() and device() are the pointers, difference() compares what they hold.
template <class T>
class Both {
 public:
  explicit Both(std::vector<T> values) : host_(values), device_(std::move(values)) {}

  T* host() { return host_.data(); }
  T* device() const { return device_.data(); }
  const std::vector<T>& host_values() const { return host_; }
  std::vector<T> device_values() const { return device_.values(); }
  /// R rows `stride` elements apart, from element `first`; row r at place map[r].
  kernels::Rows<T> host_rows(index_t stride, std::int32_t count, const std::int32_t* map = nullptr,
                             bool accumulate = false, index_t first = 0) {
    return {host() + first, stride, map, count, accumulate};
  }
  kernels::Rows<T> device_rows(index_t stride, std::int32_t count,
                               const std::int32_t* map = nullptr, bool accumulate = false,
                               index_t first = 0) const {
    return {device() + first, stride, map, count, accumulate};
  }

  /// Largest difference over the largest magnitude on the host (at least 1); 1e300 where one side
  /// is NaN and the other is not, or where infinities differ.
  double difference() const {
    const std::vector<T> got = device_values();
    double worst = 0, scale = 1;
    for (std::size_t i = 0; i < host_.size(); ++i) {
      const double a = static_cast<double>(got[i]), b = static_cast<double>(host_[i]);
      if ((a != a) != (b != b)) return 1e300;
      if (a == b || a != a) continue;
      const double d = a > b ? a - b : b - a;
      worst = std::max(worst, d < 1e300 ? d : 1e300);
      if (b - b == 0) scale = std::max(scale, b < 0 ? -b : b);
    }
    return worst / scale;
  }

 private:
  std::vector<T> host_;
  OnDevice<T> device_;
};

/// What CPU and device may differ by, relative to the largest value.
template <class T>
constexpr double device_tolerance() {
  return sizeof(T) == 4 ? 1e-5 : 1e-12;
}

}  // namespace concord::testing
