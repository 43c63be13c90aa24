// What tests of experiments do with run folders.
#pragma once

#include <concord/experiments/json.h>
#include <concord/experiments/run_folder.h>
#include <concord/experiments/settings.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace concord::testing {

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A fresh run folder in `parent`, as `concord run` makes it.
inline experiments::RunFolder folder_for(const std::filesystem::path& parent,
                                         const experiments::Settings& s) {
  using experiments::Json;
  return experiments::RunFolder::create(
      parent, s.experiment(),
      Json::object({{"experiment", s.experiment()},
                    {"command", s.command()},
                    {"settings", s.to_json()},
                    {"machine", Json::object({{"threads", 1}})}}));
}

}  // namespace concord::testing
