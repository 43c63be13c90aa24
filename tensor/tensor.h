// Tensor: a handle on contiguous row-major values. It knows nothing of graphs (autograd/ does
// that).
#pragma once

#include <concord/tensor/check.h>
#include <concord/tensor/shape.h>
#include <concord/tensor/storage.h>
#include <concord/tensor/types.h>

#include <span>
#include <string>
#include <string_view>

namespace concord {

/// Copying a Tensor copies the handle, never the values: `view` and `rows` share memory, everything
/// else that returns a Tensor makes a new one. As with a smart pointer, a const Tensor may point to
/// values that change.
class Tensor {
 public:
  Tensor() = default;  ///< no values; defined() is false

  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = kCpu);
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = kCpu);
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32,
                     Device device = kCpu);
  /// Same shape, element type and device as `like`.
  static Tensor empty_like(const Tensor& like) {
    return empty(like.shape(), like.dtype(), like.device());
  }
  static Tensor zeros_like(const Tensor& like) {
    return zeros(like.shape(), like.dtype(), like.device());
  }
  /// Copies `values`; throws ShapeError when their number is not shape.numel().
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape);
  template <class T>
  static Tensor from(std::initializer_list<T> values, const Shape& shape) {
    return from(std::span<const T>(values.begin(), values.size()), shape);
  }
  /// Values that the caller owns and keeps alive, e.g. a mapped file or another library's buffer.
  template <class T>
  static Tensor borrow(T* data, const Shape& shape, Device device = kCpu);

  bool defined() const { return static_cast<bool>(storage_); }
  const Shape& shape() const { return shape_; }
  index_t dim(int axis) const { return shape_[axis]; }
  int rank() const { return shape_.rank(); }
  index_t numel() const { return shape_.numel(); }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device : kCpu; }

  /// Pointer to the first value, in the memory of device(). Throws DTypeError when T is not the
  /// element type, UsageError when there are no values.
  template <class T>
  T* data() const {
    if (dtype_ != dtype_of<T> || !storage_) wrong_access(dtype_of<T>);
    return reinterpret_cast<T*>(raw());
  }
  /// The same for loops on the host; throws DeviceError when the values are on another device.
  template <class T>
  std::span<T> values() const {
    check_on_host();
    return {data<T>(), static_cast<std::size_t>(numel())};
  }
  /// The same without a type, for copies and files.
  std::byte* raw() const { return storage_->data + offset_; }

  /// The value of a one-element tensor of any element type, on any device. Throws ShapeError for
  /// other sizes.
  double item() const;
  /// One value by index, of any element type, on any device. Slow; for tests and printing.
  double at(std::initializer_list<index_t> index) const;

  /// Same values, another shape with as many elements; one extent may be -1. Shares memory.
  Tensor view(const Shape& shape, Loc at = {}) const;
  Tensor view(std::initializer_list<index_t> extents_or_minus_one, Loc at = {}) const;
  /// Rows [first, last) of the leading axis. Shares memory.
  Tensor rows(index_t first, index_t last) const;
  /// Element `i` of the leading axis, that axis removed. Shares memory.
  Tensor operator[](index_t i) const;

  Tensor clone() const;
  /// Converted element by element (saturating to 0..255 for u8, truncating for i64).
  Tensor to(DType dtype) const;
  /// The values on another device; the tensor itself when it is there already.
  Tensor to(Device device) const;
  /// A copy on the host that is valid after synchronize(device()): any number of downloads, one
  /// wait. A tensor of the CPU gives itself.
  Tensor download() const;
  /// Copies values from a tensor with as many elements of the same type, on any device.
  void copy_from(const Tensor& source) const;
  void fill(double value) const;
  void zero() const;

  bool shares_memory_with(const Tensor& o) const { return storage_ && storage_ == o.storage_; }

 private:
  [[noreturn]] void wrong_access(DType wanted) const;
  void check_on_host() const;
  static Tensor in(Allocator& memory, const Shape& shape, DType dtype);

  StoragePtr storage_;
  std::size_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::f32;
};

/// "f32[8,3,32,32]  cpu", for error fields.
std::string describe(const Tensor& t);
/// The values, nested in brackets, shortened to a few per axis.
std::string to_string(const Tensor& t);

/// Throws ShapeError / DTypeError / DeviceError naming `op` and `argument`.
void check_rank(std::string_view op, std::string_view argument, const Tensor& t, int rank,
                Loc at = {});
void check_dtype(std::string_view op, std::string_view argument, const Tensor& t, DType dtype,
                 Loc at = {});
void check_shape(std::string_view op, std::string_view argument, const Tensor& t,
                 const Shape& shape, Loc at = {});
/// Both must have one element type and live on one device.
void check_same_kind(std::string_view op, std::string_view name_a, const Tensor& a,
                     std::string_view name_b, const Tensor& b, Loc at = {});

}  // namespace concord
