// Module: a named piece of a network. It holds slice ids and children, never values: which θ it
// runs on stands in the Context.
#pragma once

#include <concord/autograd/context.h>
#include <concord/autograd/parameters.h>
#include <concord/autograd/var.h>

#include <string>

namespace concord::nn {

/// One Var in, one Var out. Derive, register parameters in the constructor through the Scope, and
/// write forward(); networks with several outputs offer further functions beside it.
class Module {
 public:
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Runs forward() under this module's name: recorded ops carry its path, and an Error that passes
  /// is told the innermost path and the outermost caller.
  Var operator()(const Context& ctx, const Var& x, Loc at = Loc::current()) const;

  const std::string& path() const { return path_; }

 protected:
  explicit Module(const Scope& scope) : path_(scope.path()) {}
  virtual Var forward(const Context& ctx, const Var& x) const = 0;

  /// The same service for functions with other signatures: run(ctx, [&] { ... }, at).
  template <class F>
  auto run(const Context& ctx, F&& f, Loc at) const {
    const ModuleScope inside(ctx.tape, path_);
    try {
      return f();
    } catch (Error& e) {
      e.in_module(path_, at);
      throw;
    }
  }

 private:
  std::string path_;
};

}  // namespace concord::nn
