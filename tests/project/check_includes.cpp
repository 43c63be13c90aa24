// Checks every #include of the tree against the arrows of the design: a room includes only rooms
// below it, kernels/ only those who may, and each third-party field stays in at most two source
// files.
//
//   check_includes ROOT         prints each offence as file:line: text; exit status 1 when there is
//   any check_includes --self-test  the same rules against includes that must be refused
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

// tensor <- autograd <- nn <- optim <- multitask <- rl <- experiments; data stands beside the line.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"tensor", {"tensor"}},
    {"autograd", {"tensor", "autograd"}},
    {"nn", {"tensor", "autograd", "nn"}},
    {"optim", {"tensor", "autograd", "nn", "optim"}},
    {"multitask", {"tensor", "autograd", "nn", "optim", "multitask"}},
    {"rl", {"tensor", "autograd", "nn", "optim", "multitask", "rl"}},
    {"data", {"tensor", "data"}},
    {"experiments",
     {"tensor", "autograd", "nn", "optim", "multitask", "rl", "data", "experiments"}},
};

// Besides tensor/ itself: the op files, the optimisers, the Gram code and element-wise methods.
// Their headers may use the words of kernels/ (rows, geometries, the element-wise list), not the
// table, so that the device contract does not leak upwards.
const std::set<std::string> kMayIncludeKernels = {"autograd", "optim", "multitask"};
// These time the kernels by themselves, and say what they should take.
const std::set<std::string> kTimesKernels = {"experiments/bench_kernels.cpp",
                                             "experiments/bench_cuda.cpp"};

struct Field {
  std::string_view name;
  std::vector<std::string_view> prefixes;
  std::size_t most_files;
  bool in_headers;
};
const std::vector<Field> kFields = {
    {"zlib", {"zlib.h"}, 2, false},
    {"JSON", {"nlohmann/"}, 2, false},
    {"flag parsing", {"CLI/"}, 2, false},
    {"MPI", {"mpi.h"}, 1, false},
    {"text formatting", {"fmt/"}, 10000, false},
    {"BLAS", {"cblas.h", "openblas_config.h", "lapacke.h", "lapack.h"}, 10000, false},
};

struct Include {
  std::string file;  // relative to the root, '/' between folders
  int line;
  std::string target;  // what stands between the brackets
  bool quoted;
};

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool is_header(std::string_view file) {
  return file.size() > 2 && file.substr(file.size() - 2) == ".h";
}

std::string room_of(std::string_view path) { return std::string(path.substr(0, path.find('/'))); }

std::vector<std::string> offences(const std::vector<Include>& includes) {
  std::vector<std::string> found;
  std::map<std::string_view, std::set<std::string>> users;
  for (const Include& include : includes) {
    const auto refuse = [&](const std::string& why) {
      found.push_back(include.file + ":" + std::to_string(include.line) + ": <" + include.target +
                      ">: " + why);
    };
    const std::string room = room_of(include.file);
    if (include.quoted) refuse("write <concord/room/file.h>");
    if (starts_with(include.target, "concord/")) {
      const std::string_view target = std::string_view(include.target).substr(8);
      if (!kMayInclude.at(room).count(room_of(target))) {
        refuse("the arrows go the other way: " + room + "/ may not use " + room_of(target) + "/");
      }
      if (starts_with(target, "tensor/kernels/") && room != "tensor" &&
          !kTimesKernels.count(include.file) &&
          (!kMayIncludeKernels.count(room) ||
           (is_header(include.file) && target == "tensor/kernels/kernels.h" &&
            !starts_with(include.file, "autograd/ops/")))) {
        refuse(
            "kernels/ is for tensor/, autograd/, optim/ and Gram code, its table for their "
            "sources");
      }
    }
    for (const Field& field : kFields) {
      for (std::string_view prefix : field.prefixes) {
        if (!starts_with(include.target, prefix)) continue;
        users[field.name].insert(include.file);
        if (is_header(include.file) && !field.in_headers) refuse("keep it out of headers");
        if (users[field.name].size() == field.most_files + 1) {
          refuse(std::string(field.name) + " is allowed in " + std::to_string(field.most_files) +
                 " source files, this is one more");
        }
      }
    }
  }
  return found;
}

std::vector<Include> read_tree(const fs::path& root) {
  std::vector<Include> includes;
  for (const auto& [room, unused] : kMayInclude) {
    if (!fs::is_directory(root / room)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / room)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu") continue;
      std::ifstream in(entry.path());
      std::string line;
      for (int number = 1; std::getline(in, line); ++number) {
        const std::size_t hash = line.find_first_not_of(" \t");
        if (hash == std::string::npos || line[hash] != '#') continue;
        const std::size_t word = line.find_first_not_of(" \t", hash + 1);
        if (word == std::string::npos || line.compare(word, 7, "include") != 0) continue;
        const std::size_t open = line.find_first_of("<\"", word + 7);
        if (open == std::string::npos) continue;
        const std::size_t close = line.find(line[open] == '<' ? '>' : '"', open + 1);
        if (close == std::string::npos) continue;
        includes.push_back({fs::relative(entry.path(), root).generic_string(), number,
                            line.substr(open + 1, close - open - 1), line[open] == '"'});
      }
    }
  }
  std::sort(includes.begin(), includes.end(), [](const Include& a, const Include& b) {
    return a.file != b.file ? a.file < b.file : a.line < b.line;
  });
  return includes;
}

int self_test() {
  const std::vector<Include> good = {
      {"nn/linear.cpp", 1, "concord/autograd/ops.h", false},
      {"data/idx.cpp", 1, "zlib.h", false},
      {"autograd/conv.cpp", 1, "concord/tensor/kernels/kernels.h", false},
      {"experiments/main.cpp", 1, "CLI/CLI.hpp", false},
      {"experiments/bench_kernels.cpp", 1, "concord/tensor/kernels/kernels.h", false},
  };
  const std::vector<std::vector<Include>> bad = {
      {{"tensor/tensor.cpp", 1, "concord/autograd/var.h", false}},
      {{"autograd/tape.h", 1, "concord/nn/module.h", false}},
      {{"data/loader.cpp", 1, "concord/autograd/var.h", false}},
      {{"nn/linear.cpp", 1, "concord/data/loader.h", false}},
      {{"nn/linear.cpp", 1, "concord/tensor/kernels/kernels.h", false}},
      {{"optim/adam.h", 1, "concord/tensor/kernels/kernels.h", false}},
      {{"experiments/info.cpp", 1, "concord/tensor/kernels/kernels.h", false}},
      {{"nn/linear.cpp", 1, "linear.h", true}},
      {{"data/idx.h", 1, "zlib.h", false}},
      {{"tensor/comm_mpi.cpp", 1, "mpi.h", false}, {"tensor/storage.cpp", 1, "mpi.h", false}},
      {{"nn/a.cpp", 1, "nlohmann/json.hpp", false},
       {"nn/b.cpp", 1, "nlohmann/json.hpp", false},
       {"nn/c.cpp", 1, "nlohmann/json.hpp", false}},
  };
  int failures = 0;
  for (const std::string& text : offences(good)) {
    std::printf("self test: refused what is allowed: %s\n", text.c_str());
    ++failures;
  }
  for (const auto& sample : bad) {
    if (offences(sample).size() == 1) continue;
    std::printf("self test: not refused once: %s <%s>\n", sample[0].file.c_str(),
                sample[0].target.c_str());
    ++failures;
  }
  std::printf("%zu samples, %d failures\n", bad.size() + 1, failures);
  return failures != 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: check_includes ROOT | --self-test\n");
    return 2;
  }
  if (std::string_view(argv[1]) == "--self-test") return self_test();
  const std::vector<Include> includes = read_tree(argv[1]);
  const std::vector<std::string> found = offences(includes);
  for (const std::string& text : found) std::printf("%s\n", text.c_str());
  std::printf("%zu includes, %zu offences\n", includes.size(), found.size());
  // A tree without includes is not this tree: the path must be wrong.
  return includes.empty() || !found.empty();
}
