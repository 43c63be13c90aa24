// Errors: one format for all of concord, with the shapes that did not fit and where they met.
//
//   conv2d: input has 3 channels, weight expects 16
//     input   f32[8,3,32,32]  cpu
//     weight  f32[32,16,3,3]  cpu   layout [out, in, kh, kw]
//     module  net.layer1.0.conv1   called at experiments/cifar.cpp:41
//
// The first line is written where the check is; the module line is added while the exception
// unwinds through nn::Module (nn/module.h).
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concord {

/// A place in the caller's source. std::source_location would serve, but clang 14 lacks it.
struct Loc {
  const char* file = "";
  int line = 0;
  static constexpr Loc current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// Base of everything concord throws.
class Error : public std::exception {
 public:
  /// One row under the headline: a label ("input") and what it is ("f32[8,3,32,32]  cpu").
  using Field = std::pair<std::string, std::string>;

  /// `headline` reads "op: what is, what was expected".
  explicit Error(std::string headline, std::vector<Field> fields = {}, Loc called_at = {});

  /// The whole text, headline first.
  const char* what() const noexcept override { return text_.c_str(); }
  const std::string& headline() const { return headline_; }

  /// Called while unwinding through a module: the innermost path stays, the outermost caller wins.
  void in_module(std::string_view path, Loc called_at);

 private:
  void compose();

  std::string headline_;
  std::vector<Field> fields_;
  std::string module_;
  Loc called_at_;
  std::string text_;
};

// What went wrong, as a type. `using Error::Error` keeps the one constructor.

/// Shapes, ranks or sizes do not fit.
struct ShapeError : Error {
  using Error::Error;
};
/// An element type is not the one needed.
struct DTypeError : Error {
  using Error::Error;
};
/// Tensors on different devices, or no such device.
struct DeviceError : Error {
  using Error::Error;
};
/// An argument or setting out of its range.
struct ValueError : Error {
  using Error::Error;
};
/// The right call at the wrong time.
struct UsageError : Error {
  using Error::Error;
};
/// A file is missing, damaged or not what it claims.
struct FileError : Error {
  using Error::Error;
};
/// Another rank is silent, gone, or sent something else.
struct CommError : Error {
  using Error::Error;
};
/// NaN or infinity where none may be.
struct NumericError : Error {
  using Error::Error;
};

/// The up to `most` names nearest to `wanted` by edit distance, best first, for "did you mean"
/// texts.
std::vector<std::string> nearest(std::string_view wanted, const std::vector<std::string>& names,
                                 std::size_t most = 3);

/// Throws ValueError "unknown <kind> '<wanted>'" with the nearest valid names and all of them.
[[noreturn]] void throw_unknown(std::string_view kind, std::string_view wanted,
                                const std::vector<std::string>& names);

}  // namespace concord
