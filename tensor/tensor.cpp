#include <concord/tensor/kernels/cuda/cuda.h>
#include <concord/tensor/tensor.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace concord {
namespace {

/// Calls f with a null pointer of the element type.
template <class F>
decltype(auto) with_type(DType t, F&& f) {
  switch (t) {
    case DType::f32:
      return f(static_cast<float*>(nullptr));
    case DType::f64:
      return f(static_cast<double*>(nullptr));
    case DType::i64:
      return f(static_cast<std::int64_t*>(nullptr));
    case DType::bf16:
      return f(static_cast<BFloat16*>(nullptr));
    case DType::u8:
      break;
  }
  return f(static_cast<std::uint8_t*>(nullptr));
}

template <class To>
To convert(double v) {
  if constexpr (std::is_same_v<To, std::uint8_t>)
    return static_cast<To>(std::clamp(v, 0.0, 255.0));
  else
    return static_cast<To>(v);
}

}  // namespace

Tensor Tensor::in(Allocator& memory, const Shape& shape, DType dtype) {
  Tensor t;
  t.storage_ =
      StoragePtr(memory.allocate(static_cast<std::size_t>(shape.numel()) * size_of(dtype)));
  t.shape_ = shape;
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  return in(Allocator::of(device), shape, dtype);
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.zero();
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(value);
  return t;
}

template <class T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape) {
  if (static_cast<index_t>(values.size()) != shape.numel()) {
    throw ShapeError(
        fmt::format("tensor: {} values given, the shape has {}", values.size(), shape.numel()),
        {{"shape", to_string(shape)}});
  }
  Tensor t = empty(shape, dtype_of<T>);
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}

template <class T>
Tensor Tensor::borrow(T* data, const Shape& shape, Device device) {
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype_of<std::remove_const_t<T>>;
  t.storage_ = StoragePtr(Allocator::borrow(data, t.bytes(), device));
  return t;
}

#define CONCORD_INSTANTIATE(T)                                       \
  template Tensor Tensor::from<T>(std::span<const T>, const Shape&); \
  template Tensor Tensor::borrow<T>(T*, const Shape&, Device);
CONCORD_INSTANTIATE(float)
CONCORD_INSTANTIATE(double)
CONCORD_INSTANTIATE(std::int64_t)
CONCORD_INSTANTIATE(std::uint8_t)
#undef CONCORD_INSTANTIATE

void Tensor::wrong_access(DType wanted) const {
  if (!storage_) throw UsageError("tensor: no values (default-constructed tensor)");
  throw DTypeError(
      fmt::format("tensor: elements are {}, accessed as {}", name(dtype_), name(wanted)),
      {{"tensor", describe(*this)}});
}

void Tensor::check_on_host() const {
  if (device() == kCpu) return;
  throw DeviceError("tensor: the host reads values of a device; copy them with to(kCpu)",
                    {{"tensor", describe(*this)}});
}

double Tensor::item() const {
  if (!storage_) throw UsageError("tensor: no values (default-constructed tensor)");
  if (numel() != 1) {
    throw ShapeError(fmt::format("item: needs one element, has {}", numel()),
                     {{"tensor", describe(*this)}});
  }
  const Tensor host = to(kCpu);
  return with_type(dtype_, [&]<class T>(T*) { return static_cast<double>(*host.data<T>()); });
}

double Tensor::at(std::initializer_list<index_t> index) const {
  index_t flat = 0;
  bool good = static_cast<int>(index.size()) == rank();
  int axis = 0;
  for (const index_t i : index) {
    if (!good || i < 0 || i >= shape_[axis]) {
      good = false;
      break;
    }
    flat = flat * shape_[axis++] + i;
  }
  if (!good) {
    throw ShapeError(fmt::format("at: index {} is outside", to_string(Shape(index))),
                     {{"tensor", describe(*this)}});
  }
  return view({numel()})[flat].item();
}

Tensor Tensor::view(const Shape& shape, Loc at) const {
  if (shape.numel() != numel()) {
    throw ShapeError(
        fmt::format("view: {} elements cannot be seen as {}", numel(), to_string(shape)),
        {{"tensor", describe(*this)}}, at);
  }
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::view(std::initializer_list<index_t> extents, Loc at) const {
  std::array<index_t, kMaxRank> e{};
  if (extents.size() > kMaxRank) return view(Shape(extents));  // throws
  std::copy(extents.begin(), extents.end(), e.begin());
  index_t known = 1;
  index_t* open = nullptr;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (e[i] == -1 && !open)
      open = &e[i];
    else
      known *= e[i];
  }
  if (open) *open = known > 0 ? numel() / known : 0;
  return view(Shape(std::span<const index_t>(e.data(), extents.size())), at);
}

Tensor Tensor::rows(index_t first, index_t last) const {
  if (rank() == 0 || first < 0 || last < first || last > shape_[0]) {
    throw ShapeError(fmt::format("rows: [{}, {}) is outside", first, last),
                     {{"tensor", describe(*this)}});
  }
  Tensor t = *this;
  t.shape_ = shape_.with(0, last - first);
  t.offset_ += static_cast<std::size_t>(first * shape_.span(1, rank())) * size_of(dtype_);
  return t;
}

Tensor Tensor::operator[](index_t i) const {
  Tensor t = rows(i, i + 1);
  t.shape_ = t.shape_.without(0);
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape_, dtype_, device());
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return clone();
  Tensor t = empty(shape_, dtype, device());
  if (device().type == DeviceType::cuda) {
    cuda::convert(device().index, numel(), dtype_, raw(), dtype, t.raw());
    return t;
  }
  with_type(dtype_, [&]<class From>(From*) {
    with_type(dtype, [&]<class To>(To*) {
      const From* from = data<From>();
      To* to = t.data<To>();
      for (index_t i = 0; i < numel(); ++i) to[i] = convert<To>(static_cast<double>(from[i]));
    });
  });
  return t;
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  Tensor t = empty(shape_, dtype_, device);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::download() const {
  if (device() == kCpu) return *this;
  Tensor t = in(Allocator::pinned(), shape_, dtype_);
  if (numel() > 0) cuda::download_later(device().index, t.raw(), raw(), bytes());
  return t;
}

void Tensor::copy_from(const Tensor& source) const {
  if (source.numel() != numel() || source.dtype() != dtype_ || !storage_ || !source.storage_) {
    throw ShapeError("copy_from: size or element type differs",
                     {{"to", describe(*this)}, {"from", describe(source)}});
  }
  if (numel() == 0) return;
  const bool here = device() == kCpu, there = source.device() == kCpu;
  if (here && there)
    std::memmove(raw(), source.raw(), bytes());
  else if (here)
    cuda::download(source.device().index, raw(), source.raw(), bytes());
  else if (there)
    cuda::upload(device().index, raw(), source.raw(), bytes());
  else
    cuda::copy(device().index, raw(), source.device().index, source.raw(), bytes());
}

void Tensor::fill(double value) const {
  if (device().type == DeviceType::cuda) {
    cuda::fill(device().index, dtype_, numel(), value, raw());
    return;
  }
  with_type(dtype_, [&]<class T>(T*) { std::fill_n(data<T>(), numel(), convert<T>(value)); });
}

void Tensor::zero() const {
  if (numel() == 0) return;
  if (device().type == DeviceType::cuda)
    cuda::set_bytes(device().index, raw(), 0, bytes());
  else
    std::memset(raw(), 0, bytes());
}

std::string describe(const Tensor& t) {
  if (!t.defined()) return "undefined";
  return fmt::format("{}{}  {}", name(t.dtype()), to_string(t.shape()), name(t.device()));
}

namespace {

void print(const Tensor& t, std::string& out, int indent) {
  constexpr index_t kMost = 8;
  if (t.rank() == 0) {
    out += fmt::format("{:.6g}", t.item());
    return;
  }
  out += '[';
  const index_t n = t.dim(0);
  for (index_t i = 0; i < n; ++i) {
    if (n > kMost && i == kMost / 2) {
      i = n - kMost / 2;
      out += t.rank() > 1 ? fmt::format("...,\n{:{}}", "", indent + 1) : "..., ";
    }
    print(t[i], out, indent + 1);
    if (i + 1 < n) out += t.rank() > 1 ? fmt::format(",\n{:{}}", "", indent + 1) : ", ";
  }
  out += ']';
}

}  // namespace

std::string to_string(const Tensor& t) {
  if (!t.defined()) return "undefined";
  std::string out = describe(t) + "\n";
  print(t.to(kCpu), out, 0);
  return out;
}

void check_rank(std::string_view op, std::string_view argument, const Tensor& t, int rank, Loc at) {
  if (t.rank() == rank) return;
  throw ShapeError(fmt::format("{}: {} has {} axes, needs {}", op, argument, t.rank(), rank),
                   {{std::string(argument), describe(t)}}, at);
}

void check_dtype(std::string_view op, std::string_view argument, const Tensor& t, DType dtype,
                 Loc at) {
  if (t.dtype() == dtype) return;
  throw DTypeError(fmt::format("{}: {} has elements of type {}, needs {}", op, argument,
                               name(t.dtype()), name(dtype)),
                   {{std::string(argument), describe(t)}}, at);
}

void check_shape(std::string_view op, std::string_view argument, const Tensor& t,
                 const Shape& shape, Loc at) {
  if (t.shape() == shape) return;
  throw ShapeError(fmt::format("{}: {} has shape {}, needs {}", op, argument, to_string(t.shape()),
                               to_string(shape)),
                   {{std::string(argument), describe(t)}}, at);
}

void check_same_kind(std::string_view op, std::string_view name_a, const Tensor& a,
                     std::string_view name_b, const Tensor& b, Loc at) {
  if (a.dtype() == b.dtype() && a.device() == b.device()) return;
  const std::vector<Error::Field> fields{{std::string(name_a), describe(a)},
                                         {std::string(name_b), describe(b)}};
  if (a.dtype() != b.dtype()) {
    throw DTypeError(
        fmt::format("{}: {} is {}, {} is {}", op, name_a, name(a.dtype()), name_b, name(b.dtype())),
        fields, at);
  }
  if (!(a.device() == b.device())) {
    throw DeviceError(fmt::format("{}: {} is on {}, {} on {}", op, name_a, name(a.device()), name_b,
                                  name(b.device())),
                      fields, at);
  }
}

}  // namespace concord
