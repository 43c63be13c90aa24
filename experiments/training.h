// Training: one supervised multitask run (a network, a method, a seed), step by step, so that it
// can be interrupted anywhere and continued to the same bits.
#pragma once

#include <concord/autograd/parameters.h>
#include <concord/autograd/profile.h>
#include <concord/autograd/tape.h>
#include <concord/data/dataset.h>
#include <concord/data/loader.h>
#include <concord/multitask/options.h>
#include <concord/multitask/step.h>
#include <concord/multitask/telemetry.h>
#include <concord/nn/network.h>
#include <concord/optim/optimizer.h>
#include <concord/optim/schedule.h>
#include <concord/tensor/serialize.h>

#include <cstdint>
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
  std::uint64_t seed = 0;  ///< of initial weights, order of the data, the method's draws
};

/// Mean loss and accuracy of one task over a data set.
struct Score {
  double loss = 0;
  double accuracy = 0;  ///< in [0, 1]
};

class Training {
 public:
  /// All targets of the arm must have classes. Throws ValueError otherwise, or for an unknown
  /// network, method or optimiser.
  Training(Arm arm, const TrainingOptions& options, data::DatasetPtr train);

  /// One batch: forward, sweep, the method, the optimiser. Returns the number of images.
  index_t step();
  bool done() const { return steps_ == total_steps(); }
  std::int64_t steps() const { return steps_; }
  std::int64_t total_steps() const { return options_.epochs * loader_.batches_per_epoch(); }
  std::int64_t steps_per_epoch() const { return loader_.batches_per_epoch(); }
  /// Finished epochs.
  index_t epoch() const { return steps_ / loader_.batches_per_epoch(); }

  /// Mean training loss per task since the last call.
  std::vector<double> take_losses();
  /// One score per task of the arm, in evaluation mode, recorded nowhere.
  std::vector<Score> evaluate(const data::Dataset& set) const;

  const Arm& arm() const { return arm_; }
  const Theta& theta() const { return theta_; }
  const ParameterStore& store() const { return store_; }
  const multitask::Telemetry& telemetry() const { return telemetry_; }
  void profile(Profile* profile) { tape_.profile(profile); }

  /// Everything a continuation needs, bit by bit.
  void save(TensorFile& file) const;
  /// Throws FileError or ValueError when the file is of another run.
  void load(const TensorFile& file);

 private:
  /// Forward pass of the current batch into losses_.
  void compute_losses(const Context& ctx);

  Arm arm_;
  TrainingOptions options_;
  data::Loader loader_;
  Rng rng_;
  ParameterStore store_;
  std::unique_ptr<nn::Network> network_;
  Theta theta_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  optim::Schedule schedule_;
  multitask::Step step_;
  multitask::Telemetry telemetry_;
  Tape tape_;

  std::int64_t steps_ = 0;
  std::vector<double> loss_sums_;  // since take_losses(), and of how many batches
  std::int64_t loss_count_ = 0;
  data::Batch batch_;  // reused from step to step
  std::vector<Var> outputs_, losses_;
};

}  // namespace concord::experiments
