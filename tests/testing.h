// What several test programs share.
#pragma once

#include <concord/tensor/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace concord::testing {

/// The whole text of the E that f throws; another type passes through, no exception gives "(nothing
/// thrown)".
template <class E, class F>
std::string error_text(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "(nothing thrown)";
}

/// max |a - b| / max(1e-30, max |b|): error relative to the largest expected value.
inline double relative_error(const Tensor& a, const Tensor& b) {
  if (!(a.shape() == b.shape())) return INFINITY;
  const Tensor x = a.to(DType::f64), y = b.to(DType::f64);
  double most = 0, scale = 1e-30;
  for (index_t i = 0; i < x.numel(); ++i) {
    const double d = std::abs(x.data<double>()[i] - y.data<double>()[i]);
    most = d <= most ? most : d;  // a NaN stays
    scale = std::max(scale, std::abs(y.data<double>()[i]));
  }
  return most / scale;
}

/// A folder of its own that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "concord-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace concord::testing
