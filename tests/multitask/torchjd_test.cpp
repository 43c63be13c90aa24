// Against TorchJD (golden/make_golden.py): the same answer under preset=torchjd, within the
// tolerance that each of its solvers is good for.
#include <concord/multitask/aggregate.h>
#include <concord/tests/multitask/matrices.h>

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

using namespace concord;
using namespace concord::multitask;

namespace {

/// What TorchJD's defaults and the injected draws are called here.
OptionMap options_for(const std::string& method, std::int64_t columns) {
  if (method == "pcgrad") return {{"order", "index"}};
  if (method == "gradvac") return {{"preset", "torchjd"}, {"order", "index"}};
  if (method == "krum") return {{"preset", "torchjd"}, {"select", "2"}};
  if (method == "trimmed_mean") return {{"trim", "1"}};
  if (method == "graddrop") {
    std::string u;
    for (std::int64_t k = 0; k < columns; ++k) {
      const double draw = 0.11 + 0.37 * static_cast<double>(k);
      u += (k ? "," : "") + std::to_string(draw - std::floor(draw));
    }
    return {{"u", u}};
  }
  for (const auto& [name, standard] : default_options(method)) {
    if (name == "preset" && method != "moco") return {{"preset", "torchjd"}};
  }
  return {};
}

}  // namespace

TEST_CASE("TorchJD's answers on 200 random matrices") {
  std::ifstream file(std::string(CONCORD_TEST_FILES) + "/multitask/golden/torchjd.txt");
  REQUIRE(file.good());
  std::map<std::string, int> compared;
  Matrix m;
  int rank = 0, cases = 0;
  double scale = 1;
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string word;
    double number = 0;
    words >> word;
    if (word == "J") {
      words >> m.tasks >> m.columns >> rank >> scale;
      m = zeros(m.tasks, m.columns);
      for (double& v : m.values) {
        file >> v;
        v *= scale;
      }
      std::getline(file, line);
      ++cases;
      continue;
    }
    double tolerance = 0;
    std::vector<double> expected;
    words >> tolerance;
    while (words >> number) expected.push_back(number);
    const auto got = aggregate(word, options_for(word, m.columns), m.values, m.tasks, m.columns);
    CAPTURE(word);
    CAPTURE(cases);
    CAPTURE(m.tasks);
    CAPTURE(rank);
    CAPTURE(longest_row(m));
    REQUIRE(expected.size() == got.direction.size());
    CHECK(distance(got.direction, expected) <= tolerance * longest_row(m));
    ++compared[word];
  }
  CHECK(cases == 200);
  for (const char* method : {"sum", "mean", "upgrad", "dualproj", "mgda", "cagrad", "pcgrad",
                             "graddrop", "pcd", "excess_mtl", "gradvac", "aligned_mtl", "imtl_g",
                             "config", "fairgrad", "trimmed_mean", "krum"}) {
    CAPTURE(method);
    CHECK(compared[method] >= 40);
  }
}
