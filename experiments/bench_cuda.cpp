// Training steps on an H100, kernel by kernel: what its data sheet allows (the model), and beside
// it what a device takes where there is one.
#include <concord/autograd/ops.h>
#include <concord/autograd/profile.h>
#include <concord/experiments/bench_suite.h>
#include <concord/experiments/bench_trainee.h>
#include <concord/multitask/registry.h>
#include <concord/tensor/device.h>
#include <concord/tensor/kernels/cuda/conv.h>

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

namespace concord::experiments {

namespace {

// NVIDIA's data sheet of the H100 SXM. A kernel that does next to nothing still takes a start and
// an end on the device.
constexpr double kBytesPerSecond = 3.35e12;
constexpr double kFloatFlops = 67e12;   // f32, outside the tensor cores
constexpr double kDoubleFlops = 34e12;  // f64: the sums of the Gram matrix
constexpr double kKernelSeconds = 2e-6;
constexpr double kFloatBytes = 4;

/// What a row of the table stands for, summed over its calls.
struct Cost {
  int calls = 0, launches = 0;
  double flops = 0, bytes = 0, seconds = 0;
  std::string bound;  // of the last call
  std::optional<double> measured;

  void add(int kernels, double work, double traffic, double rate = kFloatFlops) {
    const double compute = work / rate, memory = traffic / kBytesPerSecond,
                 start = kernels * kKernelSeconds;
    ++calls;
    launches += kernels;
    flops += work;
    bytes += traffic;
    seconds += std::max({compute, memory, start});
    bound = start >= std::max(compute, memory) ? "start" : compute >= memory ? "compute" : "memory";
  }
};

/// The recorded step as costs, in the order of their first appearance.
class Model {
 public:
  /// The recording is of a smaller batch; `scale` is how often it fits into the batch meant.
  Model(Trainee& net, double scale) : net_(net), nodes_(net.tape().nodes()), scale_(scale) {
    find_rows();
    for (std::size_t id = 0; id < nodes_.size(); ++id) forward(static_cast<int>(id));
    for (int id = static_cast<int>(nodes_.size()) - 1; id >= 0; --id) backward(id);
    after_the_sweep();
  }

  /// Adds up what a profile of a step on the device saw, in the order of the model's own calls.
  void measured(const Profile& profile) {
    std::size_t next = 0;
    for (const Profile::Event& event : profile.events()) {
      while (next < order_.size() && !order_[next].second) ++next;
      if (next == order_.size()) break;
      Cost& cost = costs_[order_[next++].first].second;
      cost.measured = cost.measured.value_or(0) + event.duration_us * 1e-6;
    }
  }

  Section section() const {
    double total = 0;
    std::vector<double> times;
    for (const auto& [name, cost] : costs_) {
      total += cost.seconds;
      times.push_back(cost.seconds);
    }
    std::sort(times.rbegin(), times.rend());
    Section s{Table({"<kernels of", "calls", "launches", "GFLOP", "MB", "model", "share", "<bound",
                     "measured"}),
              {}};
    Cost all;
    for (const auto& [name, c] : costs_) {
      // The three most expensive are named: that is where the next work pays.
      const auto rank = std::find(times.begin(), times.end(), c.seconds) - times.begin();
      s.table.add({name, std::to_string(c.calls), std::to_string(c.launches),
                   fmt::format("{:.2f}", c.flops * 1e-9), fmt::format("{:.1f}", c.bytes * 1e-6),
                   time_text(c.seconds), fmt::format("{:.1f} %", 100 * c.seconds / total),
                   rank < 3 ? fmt::format("{}, no. {}", c.bound, rank + 1) : c.bound,
                   c.measured ? time_text(*c.measured) : "-"});
      Json row = Json::object({{"name", name},
                               {"calls", c.calls},
                               {"launches", c.launches},
                               {"flop", c.flops},
                               {"bytes", c.bytes},
                               {"model_s", c.seconds},
                               {"bound", c.bound}});
      if (c.measured) row.set("measured_s", *c.measured);
      s.results.push_back(std::move(row));
      all.launches += c.launches;
      all.flops += c.flops;
      all.bytes += c.bytes;
    }
    s.table.rule();
    s.table.add({"whole step", "", std::to_string(all.launches),
                 fmt::format("{:.2f}", all.flops * 1e-9), fmt::format("{:.1f}", all.bytes * 1e-6),
                 time_text(total), "", "", "-"});
    return s;
  }

 private:
  const Tape::Node& node(int id) const { return nodes_[static_cast<std::size_t>(id)]; }
  int input(int id, int k) const {
    return net_.tape().inputs(node(id))[static_cast<std::size_t>(k)];
  }
  bool parameter(int id) const { return id >= 0 && node(id).parameter >= 0; }
  /// Values of a node in the batch meant; only activations grow with it.
  double values(int id) const {
    if (id < 0) return static_cast<double>(net_.input().numel()) * scale_;
    const auto n = static_cast<double>(node(id).shape.numel());
    return parameter(id) ? n : n * scale_;
  }
  const Shape& shape(int id) const { return id < 0 ? net_.input().shape() : node(id).shape; }

  Cost& at(const std::string& name, bool timed = true) {
    auto found =
        std::find_if(costs_.begin(), costs_.end(), [&](const auto& c) { return c.first == name; });
    if (found == costs_.end()) found = costs_.insert(costs_.end(), {name, {}});
    order_.emplace_back(found - costs_.begin(), timed);
    return found->second;
  }

  /// How many tasks' rows reach each node.
  void find_rows() {
    std::vector<std::uint64_t> mask(nodes_.size());
    for (std::size_t t = 0; t < net_.losses().size(); ++t)
      mask[static_cast<std::size_t>(net_.losses()[t].id())] |= std::uint64_t{1} << t;
    for (int id = static_cast<int>(nodes_.size()) - 1; id >= 0; --id) {
      for (const int i : net_.tape().inputs(node(id)))
        if (i >= 0) mask[static_cast<std::size_t>(i)] |= mask[static_cast<std::size_t>(id)];
    }
    for (const std::uint64_t m : mask) rows_.push_back(std::popcount(m));
  }

  static bool no_work(std::string_view op) { return op == "view" || op == "flatten"; }

  /// "conv2d 128x16x16 -> 256x8x8 3x3": an op with the shapes that decide its cost.
  std::string title(int id) const {
    const Tape::Node& n = node(id);
    std::string text = n.op.name;
    const auto extents = [](const Shape& s) {
      std::string out;
      for (int axis = 1; axis < s.rank(); ++axis)
        out += (axis > 1 ? "x" : "") + std::to_string(s[axis]);
      return out;
    };
    if (std::string_view(n.op.name) == "conv2d") {
      const Shape& w = shape(input(id, 1));
      text += fmt::format(" {} -> {}, {}x{}", extents(shape(input(id, 0))), extents(n.shape), w[2],
                          w[3]);
    } else if (std::string_view(n.op.name) == "linear") {
      text += fmt::format(" {} -> {}", extents(shape(input(id, 0))), extents(n.shape));
    }
    return text;
  }

  /// The geometry of a recorded convolution. Stride and padding are not on the tape; the extents
  /// tell them for the odd kernels of these networks.
  kernels::ConvGeometry geometry(int id) const {
    const Shape &x = shape(input(id, 0)), &w = shape(input(id, 1)), &y = node(id).shape;
    kernels::ConvGeometry g{};
    g.n = static_cast<index_t>(static_cast<double>(x[0]) * scale_);
    g.c = x[1], g.h = x[2], g.w = x[3];
    g.k = w[0], g.r = w[2], g.s = w[3];
    g.p = y[2], g.q = y[3];
    g.stride_h = (g.h + g.p - 1) / g.p, g.stride_w = (g.w + g.q - 1) / g.q;
    g.pad_h = g.r / 2, g.pad_w = g.s / 2;
    g.dilation_h = g.dilation_w = 1;
    g.groups = g.c / w[1];
    return g;
  }

  void add_conv(Cost& cost, int id, kernels::cuda::ConvPass pass, int rows) {
    using namespace kernels::cuda;
    const ConvLaunch launch = conv_launch(geometry(id), pass, sizeof(float));
    const ConvTile tile = conv_tile(launch.way);
    const bool tiles = launch.way != ConvWay::blas;
    const int kernels = tiles ? 1 + (launch.parts > 1) + (pass == ConvPass::grad_input) : 1;
    cost.add(kernels, rows * static_cast<double>(launch.flops),
             rows * static_cast<double>(launch.bytes), kFloatFlops * (tiles ? tile.efficiency : 1));
  }

  void forward(int id) {
    const Tape::Node& n = node(id);
    const std::string_view op = n.op.name;
    if (n.inputs == 0) return;
    if (no_work(op)) {
      at("views").calls++;
      return;
    }
    Cost& cost = at(title(id) + ", forward");
    if (op == "conv2d") return add_conv(cost, id, kernels::cuda::ConvPass::forward, 1);
    double bytes = values(id) * kFloatBytes;
    for (int k = 0; k < n.inputs; ++k) {
      // A constant is the batch (in front), or an absent bias.
      if (k == 0 || input(id, k) >= 0) bytes += values(input(id, k)) * kFloatBytes;
    }
    // Batch norm reads its input for the statistics and again to normalise.
    if (op == "batch_norm") bytes += values(input(id, 0)) * kFloatBytes;
    cost.add(op == "batch_norm" ? 2 : 1, static_cast<double>(n.op.flops) * scale_, bytes);
  }

  void backward(int id) {
    const Tape::Node& n = node(id);
    const std::string_view op = n.op.name;
    const int rows = rows_[static_cast<std::size_t>(id)];
    if (n.inputs == 0 || rows == 0) return;
    if (no_work(op)) {
      at("views").calls++;
      return;
    }
    const double y = values(id), x = values(input(id, 0)),
                 work = static_cast<double>(n.op.flops) * scale_;
    if (op == "conv2d" || op == "linear") {
      Cost& cost = at(title(id) + ", gradients");
      const int before = cost.calls;
      for (const int k : {0, 1}) {
        if (input(id, k) < 0) continue;  // nobody asks for the gradient of the images
        if (op == "conv2d") {
          add_conv(
              cost, id,
              k == 0 ? kernels::cuda::ConvPass::grad_input : kernels::cuda::ConvPass::grad_weight,
              rows);
        } else {
          cost.add(1, rows * work,
                   kFloatBytes * (rows * (y + x) + values(input(id, 1)) * (k == 1 ? rows : 1)));
        }
      }
      cost.calls = before + 1;
      return;
    }
    Cost& cost = at(title(id) + ", gradients");
    if (op == "batch_norm")  // sums of gy and gy x-hat, then the gradient: everything twice
      return cost.add(2, rows * 2 * work, kFloatBytes * (2 * x + rows * (2 * y + x)));
    double bytes = rows * y;
    for (int k = 0; k < n.inputs; ++k)
      if (input(id, k) >= 0) bytes += rows * values(input(id, k));
    if (op != "add") bytes += x;  // what the derivative depends on
    int gradients = 0;
    for (int k = 0; k < n.inputs; ++k) gradients += input(id, k) >= 0;
    cost.add(gradients, rows * work, kFloatBytes * bytes);
  }

  void after_the_sweep() {
    const ParameterStore& store = net_.store();
    double shared = 0, slices = 0;
    for (SliceId s = 0; s < store.slices(); ++s) {
      if (store.slice(s).group != kShared) continue;
      shared += static_cast<double>(store.slice(s).shape.numel());
      ++slices;
    }
    const double all = static_cast<double>(store.size()), tasks = net_.tasks();
    if (tasks > 1) {
      Cost& gram = at("Gram matrix, layer by layer", false);
      gram.add(static_cast<int>(2 * slices), tasks * (tasks + 1) * shared,
               kFloatBytes * tasks * shared, kDoubleFlops);
    }
    // θ and the momentum are read and written, each gradient row is read.
    Cost& update = at("combine and step", false);
    update.add(1 + (tasks > 1 ? static_cast<int>(tasks) : 0), (2 * tasks + 6) * all,
               kFloatBytes * (tasks * shared + (all - shared) + 4 * all));
  }

  Trainee& net_;
  std::span<const Tape::Node> nodes_;
  double scale_;
  std::vector<int> rows_;
  std::vector<std::pair<std::string, Cost>> costs_;
  std::vector<std::pair<std::ptrdiff_t, bool>> order_;  // of the calls: cost, has an event
};

Section step_on_cuda(Trainee::Options options, const char* method, const Roofs& roofs) {
  const index_t batch = options.batch;
  if (roofs.device == kCpu) {
    constexpr index_t kRecorded = 2;  // the shapes are what is needed
    options.batch = kRecorded;
    Trainee net(options);
    net.forward();
    return Model(net, static_cast<double>(batch) / kRecorded).section();
  }
  options.device = roofs.device;
  Trainee net(options);
  multitask::Step step(net.store(), multitask::make_aggregator(method), options.tasks,
                       {.device = roofs.device});
  for (int i = 0; i < 3; ++i) net.step(step);  // memory, handles, clocks
  Profile profile;
  net.tape().profile(&profile);
  net.step(step);
  net.tape().profile(nullptr);
  net.forward();
  Model model(net, 1);
  model.measured(profile);
  Section section = model.section();
  const Timing whole = time(
      [&] {
        net.step(step);
        synchronize(roofs.device);
      },
      2);
  section.table.add({"whole step, measured", "", "", "", "", "", "", "", time_text(whole.minimum)});
  section.results.push_back(Json::object({{"name", "whole step"}, {"measured_s", whole.minimum}}));
  return section;
}

}  // namespace

Section bench_cuda_resnet18(const Roofs& roofs) {
  return step_on_cuda({.network = "resnet18-32", .input = {3, 32, 32}, .batch = 256}, "equal",
                      roofs);
}

Section bench_cuda_resnet50(const Roofs& roofs) {
  return step_on_cuda({.network = "resnet50", .input = {3, 224, 224}, .batch = 64}, "equal", roofs);
}

Section bench_cuda_tasks(const Roofs& roofs) {
  return step_on_cuda({.network = "resnet18-32", .input = {3, 32, 32}, .batch = 64, .tasks = 10},
                      "pcgrad", roofs);
}

}  // namespace concord::experiments
