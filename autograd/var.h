// Var: a value in a computation that may be recorded.
#pragma once

#include <concord/tensor/tensor.h>

#include <cstdint>

namespace concord {

class Tape;

/// A tensor, and its node on a tape if it has one. A Var without a tape is a constant: "no
/// gradient" is the absence of a tape, not a flag. Using a Var after its tape was reset throws
/// UsageError.
class Var {
 public:
  Var() = default;
  Var(Tensor value) : value_(std::move(value)) {}  // implicit: a tensor is a constant

  const Tensor& value() const { return value_; }
  const Shape& shape() const { return value_.shape(); }
  index_t dim(int axis) const { return value_.dim(axis); }
  int rank() const { return value_.rank(); }
  DType dtype() const { return value_.dtype(); }
  double item() const { return value_.item(); }
  bool recorded() const { return tape_ != nullptr; }

  /// The value as a constant: no gradient flows through it (stop-gradient).
  Var detach() const { return Var(value_); }

  Tape* tape() const { return tape_; }
  int id() const { return id_; }

 private:
  friend class Tape;
  Var(Tensor value, Tape* tape, int id, std::uint32_t generation)
      : value_(std::move(value)), tape_(tape), id_(id), generation_(generation) {}

  Tensor value_;
  Tape* tape_ = nullptr;
  int id_ = -1;
  std::uint32_t generation_ = 0;
};

}  // namespace concord
