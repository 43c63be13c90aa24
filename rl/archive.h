// Archive: what a checkpoint holds, described once for both directions. An object lists its values
// in one function, archive(a): saving copies them out, loading puts them back.
#pragma once

#include <concord/multitask/aggregator.h>
#include <concord/tensor/serialize.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace concord::rl {

class Archive {
 public:
  /// The tensors in `file` share memory with the objects: write it before they go on.
  static Archive save(TensorFile& file) { return Archive(&file, nullptr, ""); }
  static Archive load(const TensorFile& file) { return Archive(nullptr, &file, ""); }
  bool loading() const { return in_ != nullptr; }

  /// The same archive for a part, whose names begin with "part/".
  Archive operator/(const std::string& part) const {
    return Archive(out_, in_, prefix_ + part + "/");
  }

  // Loading throws FileError for a name that is missing and for another size or element type;
  // vectors take the size that was saved.
  void operator()(const std::string& name, const Tensor& values) const;
  void operator()(const std::string& name, std::int64_t& value) const;
  void operator()(const std::string& name, double& value) const;
  void operator()(const std::string& name, std::span<double> values) const;
  void operator()(const std::string& name, std::span<std::int64_t> values) const;
  void operator()(const std::string& name, std::vector<double>& values) const;
  /// Something with save(multitask::State&) and load(const multitask::State&).
  template <class Owner>
  void state(const std::string& name, Owner& owner) const {
    multitask::State values;
    if (loading()) {
      get(name, values);
      owner.load(values);
    } else {
      owner.save(values);
      put(name, values);
    }
  }

 private:
  Archive(TensorFile* out, const TensorFile* in, std::string prefix)
      : out_(out), in_(in), prefix_(std::move(prefix)) {}
  const Tensor& find(const std::string& name) const;
  template <class T>
  void fixed(const std::string& name, std::span<T> values) const;
  void get(const std::string& name, multitask::State& state) const;
  void put(const std::string& name, const multitask::State& state) const;

  TensorFile* out_;
  const TensorFile* in_;
  std::string prefix_;
};

}  // namespace concord::rl
