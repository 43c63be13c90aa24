#include <concord/multitask/blocks.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <algorithm>

namespace concord::multitask {
namespace {

std::string_view block_name(std::string_view parameter, Granularity granularity) {
  switch (granularity) {
    case Granularity::whole:
      return "shared";
    case Granularity::part:
      return parameter.substr(0, parameter.find('.'));
    case Granularity::layer:
      return parameter.substr(0, parameter.rfind('.'));
    case Granularity::tensor:
      break;
  }
  return parameter;
}

}  // namespace

std::vector<Block> blocks_of(const ParameterStore& store, Granularity granularity) {
  std::vector<Block> blocks;
  for (const SliceId id : store.layout()) {
    const Slice& slice = store.slice(id);
    if (slice.group != kShared) continue;
    const std::string_view name = block_name(slice.name, granularity);
    if (blocks.empty() || blocks.back().name != name) {
      if (std::any_of(blocks.begin(), blocks.end(),
                      [&](const Block& b) { return b.name == name; })) {
        throw UsageError(fmt::format(
            "blocks: the parameters of '{}' do not lie side by side; '{}' comes after '{}'", name,
            slice.name, blocks.back().name));
      }
      blocks.push_back({std::string(name), slice.offset, 0});
    }
  }
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const index_t end = b + 1 < blocks.size() ? blocks[b + 1].first : store.shared_size();
    blocks[b].size = end - blocks[b].first;
  }
  return blocks;
}

}  // namespace concord::multitask
