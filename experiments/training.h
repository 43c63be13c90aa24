// Training: one supervised multitask run (a network, a method, a seed), step by step, so that it
// can be interrupted anywhere and continued to the same bits.
#pragma once

#include <concord/autograd/parameters.h>
#include <concord/autograd/profile.h>
#include <concord/autograd/tape.h>
#include <concord/data/dataset.h>
#include <concord/data/loader.h>
#include <concord/multitask/method.h>
#include <concord/multitask/options.h>
#include <concord/multitask/telemetry.h>
#include <concord/nn/network.h>
#include <concord/optim/optimizer.h>
#include <concord/optim/schedule.h>
#include <concord/tensor/serialize.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace concord::experiments {

/// A row of the comparison: a method on some of the data set's tasks.
struct Arm {
  std::string name;              ///< "left alone", "pcgrad"
  std::string method;            ///< in multitask/registry.h
  multitask::OptionMap options;  ///< of the method
  std::vector<int> tasks;        ///< indices into Dataset::targets()
};

struct TrainingOptions {
  std::string network = "lenet";
  index_t epochs = 1;
  data::LoaderOptions loader;  ///< its seed is overwritten
  std::string optimizer = "adam";
  double rate = 1e-3, momentum = 0.9, decay = 0;
  std::string schedule = "constant";
  double clip_norm = 0;
  bool watch = false;      ///< name the op and module where a NaN or infinity first appears
  Device device = kCpu;    ///< where the network, its gradients and the batches are
  bool graphs = true;      ///< on a device: steps as CUDA graphs (Method::graphs)
  std::uint64_t seed = 0;  ///< of initial weights, order of the data, the method's draws
};

/// Mean loss and accuracy of one task over a data set.
struct Score {
  double loss = 0;
  double accuracy = 0;  ///< in [0, 1]
};

class Training : private multitask::Model {
 public:
  /// All targets of the arm must have classes. Throws ValueError otherwise, or for an unknown
  /// network, method or optimiser.
  Training(Arm arm, const TrainingOptions& options, data::DatasetPtr train);

  /// One step of the method. Returns the number of images of its (first) batch.
  index_t step();
  bool done() const { return steps_ == total_steps(); }
  std::int64_t steps() const { return steps_; }
  std::int64_t total_steps() const { return options_.epochs * steps_per_epoch(); }
  std::int64_t steps_per_epoch() const { return loaders_.front()->batches_per_epoch(); }
  /// Finished epochs.
  index_t epoch() const { return steps_ / steps_per_epoch(); }

  /// Mean training loss per task since the last call.
  std::vector<double> take_losses();
  /// One score per task of the arm, in evaluation mode, recorded nowhere.
  std::vector<Score> evaluate(const data::Dataset& set) const;

  const Arm& arm() const { return arm_; }
  const Theta& theta() const { return theta_; }
  /// The state dict of a plain network that computes what this one does: whatever the method has
  /// put between features and heads (RotoGrad's rotations) is multiplied into the heads' weights.
  std::map<std::string, Tensor> weights() const;
  const multitask::Method& method() const { return *method_; }
  const ParameterStore& store() const { return store_; }
  const multitask::Telemetry& telemetry() const { return telemetry_; }
  /// The same per layer of the trunk; empty for methods that drive the step themselves.
  const multitask::BlockTelemetry& layers() const { return layers_; }
  void profile(Profile* profile) { tape_.profile(profile); }
  Device device() const { return options_.device; }

  /// Everything a continuation needs, bit by bit.
  void save(TensorFile& file) const;
  /// Throws FileError or ValueError when the file is of another run.
  void load(const TensorFile& file);

 private:
  void record();
  // What the method asks for, of the batches of the step under way.
  void losses(const Context& ctx, int batch, std::vector<Var>& losses) override;
  Var features(const Context& ctx, int batch) override;
  void losses_at(const Context& ctx, int batch, std::span<const Var> features,
                 std::vector<Var>& losses) override;

  Arm arm_;
  TrainingOptions options_;
  Rng rng_;
  ParameterStore store_;
  std::unique_ptr<nn::Network> network_;
  Theta theta_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<multitask::Method> method_;
  /// One per batch that the method looks at in a step, each in an order of its own.
  std::vector<std::unique_ptr<data::Loader>> loaders_;
  std::deque<data::DeviceLoader> feeds_;  // one per loader
  optim::Schedule schedule_;
  multitask::Telemetry telemetry_;
  multitask::BlockTelemetry layers_;
  Tape tape_;

  std::int64_t steps_ = 0;
  std::vector<double> loss_sums_, loss_counts_;  // per task, since take_losses()
  std::vector<data::Batch> batches_;             // reused from step to step
  std::vector<Var> inputs_;                      // of the heads
};

}  // namespace concord::experiments
