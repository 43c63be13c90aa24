#include <concord/data/cifar.h>
#include <concord/data/csv.h>
#include <concord/data/generators.h>
#include <concord/data/image_folder.h>
#include <concord/data/mnist.h>
#include <concord/data/multi_fashion.h>
#include <concord/data/registry.h>
#include <concord/data/subset.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace concord::data {
namespace {

const std::string& path_of(const OpenOptions& o, std::string_view name) {
  if (o.path.empty())
    throw ValueError(fmt::format("data set '{}': needs a path, none is given", name));
  return o.path;
}

DatasetPtr limited(DatasetPtr set, index_t most) {
  return most < 0 ? set : first_n(std::move(set), most);
}

/// A training part of which some items are held out, and a test part.
Splits hold_out(DatasetPtr train, DatasetPtr test, const OpenOptions& o) {
  const auto [rest, validation] = split(std::move(train), o.validation, o.seed);
  return {limited(rest, o.train), validation, limited(std::move(test), o.test)};
}

/// One set in three: a fifth for the test, a fifth of the rest (at most o.validation) held out.
Splits cut(const DatasetPtr& all, const OpenOptions& o) {
  const auto [rest, test] = split(all, all->size() / 5, o.seed);
  OpenOptions fitted = o;
  fitted.validation = std::min(o.validation, rest->size() / 5);
  fitted.seed = o.seed + 1;
  return hold_out(rest, test, fitted);
}

Splits open_multi(const MultiFashionSources& sources, const OpenOptions& o,
                  MultiFashionOptions options) {
  options.validation_base = std::min(o.validation, sources.left_train->size() / 5);
  options.validation = o.validation;
  options.train = o.train < 0 ? options.train : o.train;
  options.test = o.test < 0 ? options.test : o.test;
  options.seed = o.seed;
  return multi_fashion(sources, options);
}

Splits open_multi_fashion(const OpenOptions& o) {
  return open_multi(fashion_sources(o.path), o, {});
}

Splits open_multi_mnist(const OpenOptions& o) {
  const std::string& path = path_of(o, "multi_mnist");
  const ImageSetPtr train = load_mnist(path, Part::train), test = load_mnist(path, Part::test);
  return open_multi({train, test, train, test}, o,
                    {.mean = kMnistMean, .deviation = kMnistDeviation});
}

Splits open_multi_mixed(const OpenOptions& o) {
  const std::string& path = path_of(o, "multi_fashion_mnist");
  return open_multi({load_mnist(path, Part::train), load_mnist(path, Part::test),
                     load_fashion_mnist(Part::train), load_fashion_mnist(Part::test)},
                    o, {.mean = kMnistMean, .deviation = kMnistDeviation});
}

Splits open_fashion(const OpenOptions& o) {
  const std::string path = o.path.empty() ? kFashionMnistFolder : o.path;
  return hold_out(load_fashion_mnist(Part::train, path), load_fashion_mnist(Part::test, path), o);
}

Splits open_mnist(const OpenOptions& o) {
  const std::string& path = path_of(o, "mnist");
  return hold_out(load_mnist(path, Part::train), load_mnist(path, Part::test), o);
}

Splits open_cifar10(const OpenOptions& o) {
  const std::string& path = path_of(o, "cifar10");
  return hold_out(load_cifar10(path, Part::train), load_cifar10(path, Part::test), o);
}

Splits open_cifar100(const OpenOptions& o) {
  const std::string& path = path_of(o, "cifar100");
  return hold_out(load_cifar100(path, Part::train), load_cifar100(path, Part::test), o);
}

/// PATH/train and PATH/test with the same classes, or PATH itself, cut.
Splits open_image_folder(const OpenOptions& o) {
  const std::filesystem::path path = path_of(o, "image_folder");
  const ImageFolderOptions options{
      .height = o.image_side, .width = o.image_side, .channels = 3, .normalisation = {}};
  if (!std::filesystem::is_directory(path / "train"))
    return cut(std::make_shared<ImageFolder>(path, options), o);
  const auto train = std::make_shared<ImageFolder>(path / "train", options);
  const auto test = std::make_shared<ImageFolder>(path / "test", options);
  if (train->classes() != test->classes()) {
    throw FileError("image folder: train and test have different classes",
                    {{"folder", path.string()}});
  }
  OpenOptions fitted = o;
  fitted.validation = std::min(o.validation, train->size() / 5);
  return hold_out(train, test, fitted);
}

/// Numbers with a header; columns named "class:NAME" or "value:NAME" are targets, the others
/// inputs.
Splits open_csv(const OpenOptions& o) {
  const std::string& path = path_of(o, "csv");
  const CsvMatrix table = load_csv(path, {.header = true}, DType::f64);
  const index_t rows = table.values.dim(0), columns = static_cast<index_t>(table.header.size());
  std::vector<index_t> inputs;
  std::vector<Tensor> values;
  std::vector<Target> targets;
  for (index_t c = 0; c < columns; ++c) {
    const std::string& title = table.header[c];
    const bool is_class = title.rfind("class:", 0) == 0;
    if (!is_class && title.rfind("value:", 0) != 0) {
      inputs.push_back(c);
      continue;
    }
    const Tensor column = Tensor::empty({rows}, is_class ? DType::i64 : DType::f32);
    std::int64_t highest = 0;
    for (index_t r = 0; r < rows; ++r) {
      const double v = table.values.data<double>()[r * columns + c];
      if (is_class) {
        if (!(v >= 0 && v < 1e6) || v != std::floor(v)) {
          throw FileError(fmt::format("csv: row {} of '{}' is {}, expected a class of 0, 1, 2 ...",
                                      r + 1, title, v),
                          {{"file", path}});
        }
        column.data<std::int64_t>()[r] = static_cast<std::int64_t>(v);
        highest = std::max(highest, static_cast<std::int64_t>(v));
      } else {
        column.data<float>()[r] = static_cast<float>(v);
      }
    }
    values.push_back(column);
    targets.push_back({title.substr(6), is_class ? static_cast<int>(highest) + 1 : 0, {}});
  }
  if (inputs.empty() || targets.empty()) {
    throw FileError("csv: needs inputs and at least one column named class:NAME or value:NAME",
                    {{"file", path}});
  }
  const index_t width = static_cast<index_t>(inputs.size());
  const Tensor input = Tensor::empty({rows, width});
  for (index_t r = 0; r < rows; ++r) {
    for (index_t k = 0; k < width; ++k) {
      input.data<float>()[r * width + k] =
          static_cast<float>(table.values.data<double>()[r * columns + inputs[k]]);
    }
  }
  return cut(std::make_shared<TensorSet>(input, std::move(values), std::move(targets)), o);
}

Splits open_blobs(const OpenOptions& o) { return cut(gaussian_blobs(5000, 5, 10, 1.0, o.seed), o); }
Splits open_moons(const OpenOptions& o) { return cut(two_moons(2000, 0.1, o.seed), o); }
Splits open_linear(const OpenOptions& o) {
  return cut(linear_tasks(5000, 20, 3, -0.25, 0.1, o.seed).set, o);
}

constexpr std::array<DatasetEntry, 12> kDatasets{{
    {"multi_fashion", "two clothing items in one 36x36 image, the class of each a task",
     "Sabour et al. 2017, Sener & Koltun 2018, on Xiao et al. 2017",
     "Debian package dataset-fashion-mnist", open_multi_fashion},
    {"multi_mnist", "two digits in one 36x36 image, the class of each a task",
     "Sabour et al. 2017, Sener & Koltun 2018", "MNIST's four IDX files in --set data=PATH",
     open_multi_mnist},
    {"multi_fashion_mnist", "a digit and a clothing item in one 36x36 image",
     "Liu et al. 2021 (CAGrad)",
     "MNIST's four IDX files in --set data=PATH, Debian package dataset-fashion-mnist",
     open_multi_mixed},
    {"fashion_mnist", "clothing, 28x28 grey, 10 classes", "Xiao, Rasul, Vollgraf 2017",
     "Debian package dataset-fashion-mnist", open_fashion},
    {"mnist", "digits, 28x28 grey, 10 classes", "LeCun, Cortes, Burges 1998",
     "four IDX files in --set data=PATH", open_mnist},
    {"cifar10", "photographs, 32x32 colour, 10 classes", "Krizhevsky 2009",
     "the binary version's files in --set data=PATH", open_cifar10},
    {"cifar100", "photographs, 32x32 colour; 100 fine and 20 coarse classes as two tasks",
     "Krizhevsky 2009", "the binary version's files in --set data=PATH", open_cifar100},
    {"image_folder", "your JPEG and PNG files, one folder per class", "",
     "folders in --set data=PATH or its train and test", open_image_folder},
    {"csv", "your table of numbers; columns class:NAME and value:NAME are the tasks", "",
     "a file, --set data=PATH", open_csv},
    {"blobs", "five normal clouds in ten dimensions", "generators.h", "", open_blobs},
    {"moons", "two interleaved half circles", "generators.h", "", open_moons},
    {"linear_tasks", "three conflicting linear regressions on the same inputs", "generators.h", "",
     open_linear},
}};

}  // namespace

std::span<const DatasetEntry> datasets() { return kDatasets; }

const DatasetEntry& find_dataset(std::string_view name) {
  std::vector<std::string> names;
  for (const DatasetEntry& entry : kDatasets) {
    if (entry.name == name) return entry;
    names.emplace_back(entry.name);
  }
  throw_unknown("data set", name, names);
}

}  // namespace concord::data
