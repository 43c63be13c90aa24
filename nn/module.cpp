#include <concord/nn/module.h>

namespace concord::nn {

Var Module::operator()(const Context& ctx, const Var& x, Loc at) const {
  return run(
      ctx, [&] { return forward(ctx, x); }, at);
}

}  // namespace concord::nn
