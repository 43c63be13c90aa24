// The verb aggregate: a multitask method applied to one matrix from a file.
#include <concord/data/csv.h>
#include <concord/data/npy.h>
#include <concord/experiments/aggregate_stream.h>
#include <concord/experiments/json.h>
#include <concord/experiments/settings.h>
#include <concord/experiments/verbs.h>
#include <concord/multitask/aggregate.h>
#include <concord/tensor/check.h>
#include <fmt/format.h>

#include <cmath>
#include <iostream>
#include <numeric>

namespace concord::experiments {

namespace {

/// f64 [T, P].
Tensor read_matrix(const std::filesystem::path& path) {
  const Tensor t = path.extension() == ".npy" ? data::load_npy(path) : data::load_csv(path).values;
  if (t.rank() != 2 || t.numel() == 0) {
    throw FileError(fmt::format("aggregate: the jacobian is {}, expected a matrix [tasks, columns]",
                                to_string(t.shape())),
                    {{"file", path.string()}});
  }
  return t.to(DType::f64);
}

Json matrix(const std::vector<double>& values, std::size_t columns) {
  Json::Array rows;
  for (std::size_t i = 0; i < values.size(); i += columns) {
    rows.emplace_back(Json::Array(values.begin() + static_cast<std::ptrdiff_t>(i),
                                  values.begin() + static_cast<std::ptrdiff_t>(i + columns)));
  }
  return rows;
}

double norm(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x * x;
  return std::sqrt(sum);
}

}  // namespace

int aggregate(const AggregateOptions& options) {
  if (options.stream) {
    std::ios::sync_with_stdio(false);  // nothing else reads or writes here
    aggregate_stream(std::cin, std::cout);
    return 0;
  }
  if (options.method.empty() || options.jacobian.empty()) {
    throw ValueError("aggregate: no method or no jacobian, expected both (or --stream)");
  }
  multitask::find_aggregator(options.method);  // a wrong name is said before the file is read
  const Tensor jacobian = read_matrix(options.jacobian);
  const auto tasks = static_cast<std::size_t>(jacobian.dim(0));
  const multitask::AggregateResult result = multitask::aggregate(
      options.method, options_from("aggregate", options.assignments), jacobian.values<double>(),
      static_cast<int>(tasks), jacobian.dim(1), options.losses, options.seed);
  // A method on elements (GradDrop) has no weights: NaN here, null in JSON.
  const bool weighted = !result.weights.empty() && !std::isnan(result.weights[0]);
  if (options.json) {
    fmt::print("{}\n", Json::object({{"method", options.method},
                                     {"tasks", tasks},
                                     {"columns", std::int64_t{jacobian.dim(1)}},
                                     {"weights", weighted ? Json(result.weights) : Json()},
                                     {"direction", result.direction},
                                     {"gram", matrix(result.gram, tasks)},
                                     {"residual", result.residual},
                                     {"note", result.note}})
                           .dump(-1));
    return 0;
  }
  Table table({"task", "weight", "gradient norm", "g . d"});
  for (std::size_t t = 0; t < tasks; ++t) {
    const double* row = jacobian.data<double>() + t * static_cast<std::size_t>(jacobian.dim(1));
    const double inner =
        std::inner_product(result.direction.begin(), result.direction.end(), row, 0.0);
    table.add({fmt::format("{}", t), weighted ? fmt::format("{:.6g}", result.weights[t]) : "-",
               fmt::format("{:.6g}", std::sqrt(result.gram[t * tasks + t])),
               fmt::format("{:.6g}", inner)});
  }
  fmt::print("{}\n|d| = {:.6g}, residual {:.2g}{}{}\n", table.text(), norm(result.direction),
             result.residual, result.note.empty() ? "" : ", ", result.note);
  return 0;
}

}  // namespace concord::experiments
