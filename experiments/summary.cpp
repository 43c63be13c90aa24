// The verb summary: what a network consists of.
#include <concord/data/files.h>
#include <concord/experiments/progress.h>
#include <concord/experiments/table.h>
#include <concord/experiments/verbs.h>
#include <concord/nn/network.h>
#include <concord/nn/summary.h>
#include <concord/tensor/check.h>
#include <fmt/format.h>

namespace concord::experiments {

int summary(const SummaryOptions& options) {
  const nn::NetworkEntry& entry = nn::find_network(options.network);
  nn::NetworkOptions o;
  o.input = options.input.empty() ? entry.input : Shape(std::span<const index_t>(options.input));
  o.outputs = options.outputs.empty() ? std::vector<index_t>{10} : options.outputs;
  ParameterStore store;
  const auto network = nn::make_network(options.network, Scope(store), o);
  const Theta theta(store);
  Tape tape;
  const Context ctx{.theta = &theta, .tape = &tape};
  (*network)(ctx, Tensor::zeros(o.input.insert(0, 1)));

  const nn::Summary s = nn::summarize(store, tape);
  Table table({"<module", "<op", "output", "parameters", "MFLOP"});
  for (const nn::SummaryRow& r : s.rows) {
    table.add({r.module, r.op, to_string(r.output), r.parameters ? with_commas(r.parameters) : "",
               r.flops ? fmt::format("{:.2f}", static_cast<double>(r.flops) * 1e-6) : ""});
  }
  table.rule();
  table.add({"sum", "", "", with_commas(s.parameters),
             fmt::format("{:.2f}", static_cast<double>(s.flops) * 1e-6)});
  fmt::print(
      "{}: {}\ninput {} for one sample; a multiplication and an addition are two FLOP\n\n{}\n",
      entry.name, entry.help, to_string(o.input), table.text());
  if (!options.dot.empty()) {
    const std::string dot = tape.dot();
    data::write_file(options.dot, std::as_bytes(std::span(dot)));
    fmt::print("graph  {}   (dot -Tsvg {} > graph.svg)\n", options.dot.string(),
               options.dot.string());
  }
  return 0;
}

}  // namespace concord::experiments
