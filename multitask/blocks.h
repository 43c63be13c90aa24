// Blocks: which shared parameters a method treats together. The whole trunk is one block as a rule;
// with smaller ones every block has its own Gram matrix and gets its own answer, as in Du et al.
// (2018), section 4, where a gate opens layer by layer.
#pragma once

#include <concord/autograd/parameters.h>

#include <string>
#include <string_view>
#include <vector>

namespace concord::multitask {

/// How far apart the shared parameters are taken.
enum class Granularity {
  whole,  ///< one block
  part,   ///< per part of the network: the first component of the names ("layer1")
  layer,  ///< per module: the names without their last component ("layer1.0.conv1")
  tensor  ///< per parameter ("layer1.0.conv1.weight")
};

/// Neighbouring columns of the gradient matrix.
struct Block {
  std::string name;  ///< what its parameters' names have in common
  index_t first, size;
};

/// The blocks of a store's shared parameters, in the order of their columns; the block of the whole
/// trunk is named "shared". Fixes the store's layout. Throws UsageError when the parameters of one
/// block do not lie side by side.
std::vector<Block> blocks_of(const ParameterStore& store, Granularity granularity);

}  // namespace concord::multitask
