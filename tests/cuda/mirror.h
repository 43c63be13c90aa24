// A Buffer (tests/kernels/buffers.h) on the device, gaps and canaries included: kernels get rows of
// the same form there, and what they wrote comes back.
#pragma once

#include <concord/tests/cuda/device.h>
#include <concord/tests/kernels/buffers.h>

namespace concord::testing {

template <class T>
class Mirror {
 public:
  explicit Mirror(Buffer<T>& buffer) : buffer_(buffer), memory_(buffer.values()) {}

  T* row(int r) const { return there(buffer_.row(r)); }
  kernels::Rows<T> rows(bool accumulate = false) const { return there(buffer_.rows(accumulate)); }
  kernels::Rows<T> one(int r, bool accumulate = false) const {
    return there(buffer_.one(r, accumulate));
  }
  kernels::Rows<T> shared() const { return there(buffer_.shared()); }
  /// Brings the values back into the buffer.
  void download() { buffer_.values() = memory_.values(); }

 private:
  T* there(T* here) const { return memory_.data() + (here - buffer_.values().data()); }
  kernels::Rows<T> there(kernels::Rows<T> rows) const {
    rows.base = there(rows.base);
    return rows;
  }

  Buffer<T>& buffer_;
  OnDevice<T> memory_;
};

}  // namespace concord::testing
