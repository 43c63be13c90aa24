// Context: everything a forward pass depends on besides its input. There are no global mode flags.
#pragma once

#include <concord/autograd/parameters.h>
#include <concord/autograd/tape.h>
#include <concord/tensor/random.h>

namespace concord {

/// net(ctx, x): which θ, recorded where, in training or evaluation, with which random numbers.
struct Context {
  const Theta* theta = nullptr;
  Tape* tape = nullptr;   ///< null: nothing is recorded
  bool training = false;  ///< batch norm uses and moves batch statistics, dropout drops
  Rng rng{};              ///< fork it per step; a dropout layer forks it by its path

  /// A parameter, recorded if there is a tape.
  Var parameter(SliceId id) const { return tape ? tape->parameter(*theta, id) : Var((*theta)[id]); }
  Tensor buffer(BufferId id) const { return theta->buffer(id); }
};

}  // namespace concord
