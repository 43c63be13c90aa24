#include <concord/data/cifar.h>

#include <fmt/format.h>

#include <cstring>

namespace concord::data {
namespace {

constexpr std::size_t kPixels = 3 * 32 * 32;

std::vector<Target> tasks_of(Cifar kind) {
  if (kind == Cifar::ten) return {{"class", 10, {}}};
  return {{"fine", 100, {}}, {"coarse", 20, {}}};
}

}  // namespace

CifarRecords parse_cifar(Bytes bytes, std::string_view name, Cifar kind) {
  const std::vector<Target> tasks = tasks_of(kind);
  const std::size_t labels = tasks.size(), record = labels + kPixels, count = bytes.size() / record;
  if (bytes.size() % record != 0) {
    throw_damaged("cifar", name, count * record,
                  fmt::format("has {} bytes, expected a multiple of {}", bytes.size(), record));
  }
  const auto n = static_cast<index_t>(count);
  const CifarRecords out{Tensor::empty({n, 3, 32, 32}, DType::u8),
                         Tensor::empty({static_cast<index_t>(labels), n}, DType::i64)};
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t t = 0; t < labels; ++t) {
      // The file has the coarse label first.
      const std::size_t offset = i * record + (labels - 1 - t);
      const auto label = std::to_integer<int>(bytes[offset]);
      if (label >= tasks[t].classes) {
        throw_damaged("cifar", name, offset,
                      fmt::format("{} label of image {} is {}, expected 0 to {}", tasks[t].name, i,
                                  label, tasks[t].classes - 1));
      }
      out.labels.data<std::int64_t>()[t * count + i] = label;
    }
    std::memcpy(out.images.raw() + i * kPixels, bytes.data() + i * record + labels, kPixels);
  }
  return out;
}

ImageSetPtr load_cifar10(const std::filesystem::path& folder, Part part) {
  std::vector<std::string> files{"test_batch.bin"};
  if (part == Part::train) {
    files.clear();
    for (int k = 1; k <= 5; ++k) files.push_back(fmt::format("data_batch_{}.bin", k));
  }
  std::vector<CifarRecords> batches;
  index_t n = 0;
  for (const std::string& file : files) {
    const auto path = folder / file;
    batches.push_back(parse_cifar(read_file(path), path.string(), Cifar::ten));
    n += batches.back().images.dim(0);
  }
  const Tensor images = Tensor::empty({n, 3, 32, 32}, DType::u8),
               labels = Tensor::empty({1, n}, DType::i64);
  index_t at = 0;
  for (const CifarRecords& batch : batches) {
    const index_t count = batch.images.dim(0);
    images.rows(at, at + count).copy_from(batch.images);
    labels[0].rows(at, at + count).copy_from(batch.labels);
    at += count;
  }
  // Mean and deviation of the training part's pixels, per channel.
  return std::make_shared<ImageSet>(
      images, labels, tasks_of(Cifar::ten),
      Normalisation{{0.4914, 0.4822, 0.4465}, {0.2470, 0.2435, 0.2616}});
}

ImageSetPtr load_cifar100(const std::filesystem::path& folder, Part part) {
  const auto path = folder / (part == Part::train ? "train.bin" : "test.bin");
  const CifarRecords records = parse_cifar(read_file(path), path.string(), Cifar::hundred);
  return std::make_shared<ImageSet>(
      records.images, records.labels, tasks_of(Cifar::hundred),
      Normalisation{{0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762}});
}

}  // namespace concord::data
