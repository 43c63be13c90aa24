// The factories of the methods that drive a whole training step, one per file of this folder. Use
// make_method() of method.h.
#pragma once

#include <concord/multitask/method.h>

#include <memory>

namespace concord::multitask {

using MethodPtr = std::unique_ptr<Method>;

MethodPtr make_auto_lambda(Options& options, const Theta& like, int tasks);
MethodPtr make_look_ahead(Options& options, const Theta& like, int tasks);
MethodPtr make_modo(Options& options, const Theta& like, int tasks);
MethodPtr make_mtadam(Options& options, const Theta& like, int tasks);
MethodPtr make_rotograd(Options& options, const Theta& like, int tasks);
MethodPtr make_sdmgrad(Options& options, const Theta& like, int tasks);
MethodPtr make_sgsu(Options& options, const Theta& like, int tasks);

}  // namespace concord::multitask
