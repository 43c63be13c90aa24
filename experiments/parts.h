// Parts: the place on disk of a run that consists of short parts, each a function of the settings
// and its own seed. A part that was interrupted begins again, so that no training state has to be
// kept; the metrics come out bitwise as without the interruption.
#pragma once

#include <concord/experiments/run_folder.h>
#include <concord/tensor/serialize.h>

#include <cstdint>
#include <string>
#include <vector>

namespace concord::experiments {

class Parts {
 public:
  /// Opens metrics.csv and cuts off the rows of a part that was not finished.
  Parts(const RunFolder& folder, std::vector<std::string> columns);

  std::int64_t finished() const { return finished_; }
  CsvLog& metrics() { return metrics_; }
  /// All rows so far are those of finished parts, of which there is one more now.
  void finish();

 private:
  std::filesystem::path path_;
  TensorFile saved_;
  std::int64_t finished_;
  CsvLog metrics_;
};

}  // namespace concord::experiments
