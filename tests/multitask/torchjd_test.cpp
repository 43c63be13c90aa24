// Against TorchJD (golden/make_golden.py): the same answer under preset=torchjd, within the
// tolerance that each of its solvers is good for.
#include <concord/multitask/aggregate.h>
#include <concord/tests/multitask/matrices.h>

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>

using namespace concord;
using namespace concord::multitask;

TEST_CASE("TorchJD's answers on random matrices") {
  std::ifstream file(std::string(CONCORD_TEST_FILES) + "/multitask/golden/torchjd.txt");
  REQUIRE(file.good());
  std::map<std::string, int> compared;
  Matrix m;
  int rank = 0;
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string word;
    double number = 0;
    words >> word;
    if (word == "J") {
      words >> m.tasks >> m.columns >> rank;
      m = zeros(m.tasks, m.columns);
      for (double& v : m.values) file >> v;
      std::getline(file, line);
      continue;
    }
    double tolerance = 0;
    std::vector<double> expected;
    words >> tolerance;
    while (words >> number) expected.push_back(number);
    OptionMap options = {{"preset", "torchjd"}};
    if (word == "imtl_g" || word == "config") options.clear();
    if (word == "krum") options.insert({"select", "2"});
    const auto got = aggregate(word, options, m.values, m.tasks, m.columns);
    CAPTURE(word);
    CAPTURE(m.tasks);
    CAPTURE(rank);
    CAPTURE(longest_row(m));
    REQUIRE(expected.size() == got.direction.size());
    CHECK(distance(got.direction, expected) <= tolerance * longest_row(m));
    ++compared[word];
  }
  for (const char* method :
       {"upgrad", "dualproj", "mgda", "cagrad", "aligned_mtl", "imtl_g", "config", "krum"}) {
    CAPTURE(method);
    CHECK(compared[method] >= 20);
  }
}
