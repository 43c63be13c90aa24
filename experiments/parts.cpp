#include <concord/experiments/parts.h>

namespace concord::experiments {
namespace {

TensorFile load_if_there(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? load_safetensors(path) : TensorFile{};
}

std::int64_t count(const TensorFile& file, const char* key) {
  const auto found = file.metadata.find(key);
  return found == file.metadata.end() ? 0 : std::stoll(found->second);
}

}  // namespace

Parts::Parts(const RunFolder& folder, std::vector<std::string> columns)
    : path_(folder.checkpoint("progress")),
      saved_(load_if_there(path_)),
      finished_(count(saved_, "parts")),
      metrics_(folder.metrics(), std::move(columns), count(saved_, "metrics")) {}

void Parts::finish() {
  metrics_.sync();
  saved_.metadata["parts"] = std::to_string(++finished_);
  saved_.metadata["metrics"] = std::to_string(metrics_.rows());
  save_safetensors(path_, saved_);
}

}  // namespace concord::experiments
