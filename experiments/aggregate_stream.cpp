#include <concord/experiments/aggregate_stream.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <istream>
#include <limits>
#include <ostream>
#include <string_view>

namespace concord::experiments {

namespace {

// What a line may ask for: a number of two bytes becomes a Json of forty.
constexpr std::size_t kMaxLineBytes = std::size_t{32} << 20;
constexpr std::size_t kMaxKept = 10'000;

/// Members of `request` by name; there are few of them.
void check_members(const Json& request) {
  static const std::vector<std::string> kValid{"method", "options",      "matrix", "gram", "losses",
                                               "tasks",  "step",         "epoch",  "seed", "key",
                                               "id",     "losses_after", "forget"};
  for (const auto& [name, value] : request.as<Json::Object>("request")) {
    if (std::find(kValid.begin(), kValid.end(), name) == kValid.end())
      throw_unknown("member of a request", name, kValid);
  }
}

void append_numbers(const Json& list, const std::string& name, std::vector<double>& out) {
  for (const Json& value : list.as<Json::Array>(name)) out.push_back(value.number(name));
}

std::vector<double> numbers(const Json* list, const std::string& name) {
  std::vector<double> out;
  if (list) append_numbers(*list, name, out);
  return out;
}

std::int64_t whole(const Json& request, std::string_view name, std::int64_t standard) {
  const Json* value = request.find(name);
  if (!value) return standard;
  const std::int64_t n = value->as<std::int64_t>(name);
  if (n < 0) throw ValueError(fmt::format("{} is {}, expected 0 or more", name, n));
  return n;
}

struct Matrix {
  std::vector<double> values;
  int rows = 0;
  std::int64_t columns = 0;
};

Matrix matrix_of(const Json& rows, const std::string& name) {
  const auto& list = rows.as<Json::Array>(name);
  if (list.empty() || list.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    throw ValueError(fmt::format("{} has {} rows, expected one per task", name, list.size()));
  Matrix m{.rows = static_cast<int>(list.size())};
  const std::size_t columns = list[0].as<Json::Array>(name + " row 0").size();
  m.values.reserve(list.size() * columns);
  for (std::size_t r = 0; r < list.size(); ++r) {
    const std::string of_row = fmt::format("{} row {}", name, r);
    append_numbers(list[r], of_row, m.values);
    if (m.values.size() != (r + 1) * columns || columns == 0) {
      throw ValueError(fmt::format("{} has {} numbers, expected as many as row 0 ({}), at least 1",
                                   of_row, m.values.size() - r * columns, columns));
    }
  }
  m.columns = static_cast<std::int64_t>(columns);
  return m;
}

/// The solvers rely on what every Gram matrix has.
multitask::Gram gram_of(const Json& rows) {
  const Matrix m = matrix_of(rows, "gram");
  if (m.columns != m.rows)
    throw ValueError(fmt::format("gram is {} x {}, expected a square matrix", m.rows, m.columns));
  multitask::Gram gram(m.rows);
  std::copy(m.values.begin(), m.values.end(), gram.values().begin());
  constexpr double kRounding = 1e-6;  // of float inner products
  for (int i = 0; i < m.rows; ++i) {
    for (int j = 0; j <= i; ++j) {
      const double bound = std::sqrt(gram(i, i)) * std::sqrt(gram(j, j));
      if (!(std::abs(gram(i, j)) <= (1 + kRounding) * bound) ||
          !(std::abs(gram(i, j) - gram(j, i)) <= kRounding * bound)) {
        throw ValueError(fmt::format(
            "gram has {} and {} for tasks {} and {}, expected inner products: symmetric and at "
            "most the product of the norms, {}",
            gram(i, j), gram(j, i), i, j, bound));
      }
      gram.set(i, j, gram(i, j));
    }
  }
  return gram;
}

/// An option's value as a command line would have it.
std::string option_text(const Json& value, const std::string& name) {
  if (value.is<std::string>()) return value.as<std::string>();
  if (!value.is<Json::Array>()) {
    if (value.is<Json::Object>() || value.is<std::monostate>())
      throw ValueError(fmt::format("option {} is {}, expected a text or number", name,
                                   value.is<Json::Object>() ? "an object" : "null"));
    return value.dump(-1);
  }
  std::string text;
  for (const Json& element : value.as<Json::Array>()) {
    if (!text.empty()) text += ',';
    text += fmt::format("{}", element.number(name));
  }
  return text;
}

multitask::OptionMap options_of(const Json* options) {
  multitask::OptionMap map;
  if (!options) return map;
  for (const auto& [name, value] : options->as<Json::Object>("options"))
    map[name] = option_text(value, name);
  return map;
}

Json square(const std::vector<double>& values, std::size_t n) {
  Json::Array rows;
  for (std::size_t i = 0; i < values.size(); i += n) {
    const double* row = values.data() + i;
    rows.emplace_back(Json::Array(row, row + n));
  }
  return rows;
}

/// One line, without its end, into `line`; false at the end of the stream. What is longer than
/// kMaxLineBytes is read past: `line` is one byte longer than that then.
bool read_line(std::istream& in, std::string& line) {
  line.clear();
  std::streambuf& buffer = *in.rdbuf();
  int c = buffer.sbumpc();
  if (c == std::char_traits<char>::eof()) return false;
  for (; c != '\n' && c != std::char_traits<char>::eof(); c = buffer.sbumpc()) {
    if (line.size() <= kMaxLineBytes) line.push_back(static_cast<char>(c));
  }
  return true;
}

Json answer_line(AggregateServer& server, const std::string& line, std::int64_t number) {
  Json request;
  std::string problem;
  try {
    if (line.size() > kMaxLineBytes)
      throw ValueError(fmt::format("more than {} bytes, expected less", kMaxLineBytes));
    request = Json::parse(line);
    return server.answer(request);
  } catch (const std::exception& e) {
    problem = fmt::format("line {}: {}", number, e.what());
  }
  Json error = Json::object({{"error", problem}, {"line", number}});
  if (const Json* id = request.find("id")) error.set("id", *id);
  return error;
}

}  // namespace

AggregateServer::Kept AggregateServer::fresh(const Json& request) const {
  Kept kept;
  kept.method = request["method"].as<std::string>("method");
  kept.options = options_of(request.find("options"));
  kept.aggregator = multitask::make_aggregator(kept.method, kept.options);
  kept.rng = Rng(static_cast<std::uint64_t>(whole(request, "seed", 0))).fork(kept.method);
  return kept;
}

multitask::AggregateResult AggregateServer::step(Kept& kept, const Json& request) const {
  const std::vector<double> losses = numbers(request.find("losses"), "losses");
  std::vector<int> tasks;
  for (const double t : numbers(request.find("tasks"), "tasks")) {
    if (!(t >= 0 && t <= std::numeric_limits<int>::max() && t == std::floor(t)))
      throw ValueError(fmt::format("tasks has {}, expected whole numbers from 0", t));
    tasks.push_back(static_cast<int>(t));
  }
  const multitask::AggregateInputs in{.losses = losses,
                                      .step = whole(request, "step", kept.steps),
                                      .epoch = whole(request, "epoch", 0),
                                      .rng = kept.rng,
                                      .tasks = tasks};
  const auto check_tasks = [&](int rows) {
    if (!tasks.empty() && tasks.size() != static_cast<std::size_t>(rows))
      throw ValueError(fmt::format("{} tasks, expected one per row ({})", tasks.size(), rows));
  };
  const Json* matrix = request.find("matrix");
  const Json* gram = request.find("gram");
  if (!matrix == !gram) throw ValueError("a request has either a matrix or a gram");
  if (gram) {
    const multitask::Gram products = gram_of(*gram);
    check_tasks(products.tasks());
    return multitask::aggregate(*kept.aggregator, products, in);
  }
  const Matrix jacobian = matrix_of(*matrix, "matrix");
  check_tasks(jacobian.rows);
  return multitask::aggregate(*kept.aggregator, jacobian.values, jacobian.rows, jacobian.columns,
                              in);
}

Json AggregateServer::answer(const Json& request) {
  check_members(request);
  Json answer;
  if (const Json* id = request.find("id")) answer.set("id", *id);
  const Json* key = request.find("key");
  auto found = key ? kept_.find(key->as<std::string>("key")) : kept_.end();
  if (key) answer.set("key", *key);

  if (request.find("losses_after") || request.find("forget")) {
    if (found == kept_.end())
      throw ValueError("there is no object of this key, expected a request with it before");
    if (const Json* losses = request.find("losses_after"))
      found->second.aggregator->after_step(numbers(losses, "losses_after"));
    else
      kept_.erase(found);
    return answer;
  }
  if (found != kept_.end()) {
    const Kept& kept = found->second;
    const Json* method = request.find("method");
    const Json* options = request.find("options");
    if ((method && method->as<std::string>("method") != kept.method) ||
        (options && options_of(options) != kept.options)) {
      throw ValueError(
          fmt::format("key '{}' is of another method or other options, expected those of its first "
                      "request ({})",
                      found->first, kept.method));
    }
  } else if (key && kept_.size() == kMaxKept) {
    throw ValueError(
        fmt::format("{} keys are kept, expected some to be forgotten first", kMaxKept));
  }

  Kept made;
  if (found == kept_.end()) made = fresh(request);
  Kept& kept = found == kept_.end() ? made : found->second;
  const multitask::AggregateResult result = step(kept, request);
  ++kept.steps;
  if (key && found == kept_.end()) kept_.emplace(key->as<std::string>(), std::move(made));

  const bool weighted = !result.weights.empty() && !std::isnan(result.weights[0]);
  answer.set("weights", weighted ? Json(result.weights) : Json());
  answer.set("direction", result.direction.empty() ? Json() : Json(result.direction));
  answer.set("gram", square(result.gram, result.weights.size()));
  answer.set("residual", result.residual);
  answer.set("note", result.note);
  return answer;
}

void aggregate_stream(std::istream& in, std::ostream& out) {
  AggregateServer server;
  std::string line;
  for (std::int64_t number = 1; read_line(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") != std::string::npos)
      out << answer_line(server, line, number).dump(-1) << '\n';
    // Whoever waits for an answer before the next request gets it; a file is answered in blocks.
    if (in.rdbuf()->in_avail() <= 0) out.flush();
  }
  out.flush();
}

}  // namespace concord::experiments
