#include <concord/nn/summary.h>

namespace concord::nn {

Summary summarize(const ParameterStore& store, const Tape& tape) {
  Summary summary;
  const auto nodes = tape.nodes();
  std::vector<bool> counted(static_cast<std::size_t>(store.slices()));
  for (const Tape::Node& node : nodes) {
    if (!node.call) continue;  // a leaf or a parameter
    SummaryRow row{node.module ? *node.module : "", node.op.name, node.shape, 0, node.op.flops};
    for (const int id : tape.inputs(node)) {
      const SliceId parameter = id < 0 ? -1 : nodes[static_cast<std::size_t>(id)].parameter;
      if (parameter < 0 || counted[static_cast<std::size_t>(parameter)]) continue;
      counted[static_cast<std::size_t>(parameter)] = true;
      row.parameters += store.slice(parameter).shape.numel();
    }
    summary.parameters += row.parameters;
    summary.flops += row.flops;
    summary.rows.push_back(std::move(row));
  }
  return summary;
}

}  // namespace concord::nn
