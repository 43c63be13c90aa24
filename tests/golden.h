// The goldens of tests/goldens/ (generate.py computes them with PyTorch), and the inputs and
// weights that both sides derive from names instead of storing them.
#pragma once

#include <concord/autograd/parameters.h>
#include <concord/tensor/random.h>
#include <concord/tensor/serialize.h>
#include <concord/tests/testing.h>

#include <cmath>
#include <filesystem>
#include <string>

namespace concord::testing {

/// tests/goldens/<name>.safetensors
class Golden {
 public:
  explicit Golden(const std::string& name)
      : file_(load_safetensors(std::filesystem::path(CONCORD_TEST_FILES) / "goldens" /
                               (name + ".safetensors"))) {}
  const Tensor& operator[](const std::string& name) const { return file_.tensors.at(name); }
  bool has(const std::string& name) const { return file_.tensors.contains(name); }

 private:
  TensorFile file_;
};

/// generate.py's uniform(name, shape, low, high).
inline Tensor named_uniform(const std::string& name, const Shape& shape, double low = -1,
                            double high = 1, DType dtype = DType::f64) {
  const Tensor t = Tensor::empty(shape, dtype);
  Rng(2026).fork(name).fill_uniform(t, low, high);
  return t;
}

/// generate.py's classes(name, shape, n).
inline Tensor named_classes(const std::string& name, const Shape& shape, index_t n) {
  const Tensor t = Tensor::empty(shape, DType::i64);
  const Rng rng = Rng(2026).fork(name);
  for (index_t i = 0; i < t.numel(); ++i) t.data<std::int64_t>()[i] = rng.below(i, n);
  return t;
}

/// generate.py's fill(module).
inline void fill_by_name(const Theta& theta) {
  for (const auto& [name, t] : theta.state()) {
    double low = -0.2, high = 0.2;
    if (t.rank() > 1) {
      high = std::sqrt(6.0 / static_cast<double>(t.shape().span(1, t.rank())));
      low = -high;
    } else if (name.ends_with("running_var") || name.ends_with("weight")) {
      low = 0.5;
      high = 1.5;
    }
    Rng(2026).fork(name).fill_uniform(t, low, high);
  }
}

}  // namespace concord::testing
