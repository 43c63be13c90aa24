// Weights from outside: PyTorch's state dicts into a store.
#pragma once

#include <concord/autograd/parameters.h>

#include <map>
#include <string>
#include <vector>

namespace concord::nn {

struct LoadOptions {
  /// Names that start with one of these are left alone on both sides: {"fc.", "heads."} loads a
  /// trunk.
  std::vector<std::string> except;
};

/// Copies a state dict (TensorFile::tensors, or another Theta's state()) into theta's parameters
/// and buffers, by name, converting f32 and f64. The names must be exactly those of the store,
/// except PyTorch's `num_batches_tracked`, which nothing here needs. All missing, unexpected and
/// misshapen names are reported in one ValueError, and nothing is copied then.
void load_state(const Theta& theta, const std::map<std::string, Tensor>& state,
                const LoadOptions& options = {});

}  // namespace concord::nn
