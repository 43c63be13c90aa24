// gradcheck: compares the tape's gradients with finite differences, in f64.
//
// A random cotangent c makes a scalar of any function: L(x) = <c, f(x)>. Its gradient from one
// sweep is compared element by element with (L(x + h) - L(x - h)) / 2h, and along one random
// direction through all elements at once, which also covers the elements left out by sampling.
// (Ones in place of c would hide every error that cancels in the sum, as softmax's does.)
#pragma once

#include <concord/autograd/context.h>
#include <concord/autograd/var.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace concord {

struct GradcheckOptions {
  double step = 1e-5;       ///< h = step * max(1, |x_i|)
  double tolerance = 1e-6;  ///< on the relative error
  index_t most = 256;       ///< elements checked per input; of a larger one, a random sample
  Rng rng{20};
};

struct GradcheckResult {
  bool ok = true;
  index_t checked = 0, wrong = 0;  ///< elements, the random direction counted as one
  double worst = 0;     ///< largest |analytic - numeric| / max(|analytic|, |numeric|, 1e-3)
  std::string message;  ///< where the largest error is, with both values
};

/// f maps as many Vars as there are `inputs` (f64, not modified). It is called many times and must
/// give the same values for the same inputs. Throws DTypeError for other element types.
GradcheckResult gradcheck(const std::function<Var(std::span<const Var>)>& f,
                          std::span<const Tensor> inputs, const GradcheckOptions& o = {});

/// The same with respect to all parameters of `theta` (f64) that are not frozen. f is called with a
/// Context of this theta; values and buffers are the same again afterwards.
GradcheckResult gradcheck(const std::function<Var(const Context&)>& f, const Theta& theta,
                          const Context& context = {}, const GradcheckOptions& o = {});

}  // namespace concord
