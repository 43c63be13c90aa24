#include <concord/rl/archive.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::rl {

const Tensor& Archive::find(const std::string& name) const {
  const auto it = in_->tensors.find(prefix_ + name);
  if (it == in_->tensors.end())
    throw FileError(fmt::format("checkpoint: tensor '{}' is missing", prefix_ + name));
  return it->second;
}

void Archive::operator()(const std::string& name, const Tensor& values) const {
  if (!loading()) {
    out_->tensors[prefix_ + name] = values.to(kCpu);
    return;
  }
  const Tensor& from = find(name);
  if (!(from.shape() == values.shape()) || from.dtype() != values.dtype()) {
    throw FileError(fmt::format("checkpoint: tensor '{}' is of another run", prefix_ + name),
                    {{"file", describe(from)}, {"expected", describe(values)}});
  }
  values.copy_from(from);
}

template <class T>
void Archive::fixed(const std::string& name, std::span<T> values) const {
  const Tensor t = Tensor::from(std::span<const T>(values), {static_cast<index_t>(values.size())});
  (*this)(name, t);
  std::copy_n(t.data<T>(), values.size(), values.begin());
}

void Archive::operator()(const std::string& name, std::span<double> values) const {
  fixed(name, values);
}

void Archive::operator()(const std::string& name, std::span<std::int64_t> values) const {
  fixed(name, values);
}

void Archive::operator()(const std::string& name, std::int64_t& value) const {
  fixed(name, std::span(&value, 1));
}

void Archive::operator()(const std::string& name, double& value) const {
  fixed(name, std::span(&value, 1));
}

void Archive::operator()(const std::string& name, std::vector<double>& values) const {
  if (loading()) values.resize(static_cast<std::size_t>(find(name).numel()));
  fixed(name, std::span(values));
}

void Archive::get(const std::string& name, multitask::State& state) const {
  const std::string prefix = prefix_ + name + "/";
  for (const auto& [key, t] : in_->tensors) {
    if (!key.starts_with(prefix)) continue;
    const auto values = t.values<double>();
    state[key.substr(prefix.size())].assign(values.begin(), values.end());
  }
}

void Archive::put(const std::string& name, const multitask::State& state) const {
  for (const auto& [key, values] : state) {
    out_->tensors[prefix_ + name + "/" + key] =
        Tensor::from(std::span<const double>(values), {static_cast<index_t>(values.size())});
  }
}

}  // namespace concord::rl
