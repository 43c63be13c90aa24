// VecEnv: N environments of one kind that step together. Buffers belong to the caller, so a rollout
// buffer passes row t of its own [T,N,...] tensors and nothing is copied afterwards.
#pragma once

#include <concord/rl/canvas.h>
#include <concord/tensor/tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace concord::rl {

/// What one environment shows.
struct ObservationSpec {
  DType dtype = DType::f32;  ///< f32; u8 for planes of 0 and 1 and codes; i64 for a state's number
  Shape shape;               ///< without the axis of environments; [] for a state's number
  index_t states = 0;        ///< i64 only: numbers are 0 to states-1
};

/// What one environment takes: either one of `count` actions, or `dimensions` numbers.
struct ActionSpec {
  index_t count = 0;               ///< discrete: actions 0 to count-1; 0: continuous
  index_t dimensions = 0;          ///< continuous: numbers per action, each in [low, high]
  double low = -1, high = 1;       ///< continuous; values outside are clamped
  std::vector<std::string> names;  ///< discrete: "left", "fire" ..., one per action
};

struct EnvSpec {
  std::string name;
  ObservationSpec observation;
  ActionSpec action;
  index_t max_steps = 0;  ///< an episode is truncated after so many steps; 0: never
};

/// The outcome of one step of N environments. All but `final_observation` are written in every
/// step.
struct StepBuffers {
  /// [N, ...]. Where an episode ended, this is already the first observation of the next one.
  Tensor observation;
  /// [N, ...]. Row i is written only where episode i ended: what it ended with. A truncated episode
  /// is bootstrapped from this row, not from `observation`.
  Tensor final_observation;
  Tensor reward;      ///< f32 [N], never clipped or scaled
  Tensor terminated;  ///< u8 [N]: the task is over, the value of what follows is 0
  Tensor truncated;   ///< u8 [N]: only the time was over; never together with `terminated`
};

/// N environments with automatic reset in the same step. Environment i draws its random numbers
/// from a counter-based stream of (seed, i) and shares nothing with the others: results do not
/// depend on the number of threads, nor on N.
class VecEnv {
 public:
  virtual ~VecEnv() = default;
  VecEnv(const VecEnv&) = delete;
  VecEnv& operator=(const VecEnv&) = delete;

  const EnvSpec& spec() const { return spec_; }
  index_t size() const { return size_; }  ///< N
  /// Which task each environment belongs to: i64 [N], constant. All 0 unless several kinds are
  /// joined (multi_env.h).
  const Tensor& tasks() const { return tasks_; }
  /// Which actions exist: u8 [N, count], constant; undefined for continuous actions.
  const Tensor& action_mask() const { return action_mask_; }

  /// Starts a new episode everywhere; `observation` as in StepBuffers.
  void reset(const Tensor& observation);
  /// `actions`: i64 [N], or f32 [N, dimensions]. Throws ShapeError or DTypeError for buffers that
  /// do not fit, ValueError for an action that does not exist, UsageError before the first reset.
  void step(const Tensor& actions, const StepBuffers& out);
  /// What the last step or reset showed, once more: after a resume.
  void observe(const Tensor& observation) const;
  /// Buffers of the right shapes and types for one step.
  StepBuffers buffers() const;
  /// Likewise for actions.
  Tensor actions() const;

  /// What a checkpoint has to keep, by name; shares memory, so that values copied into these
  /// tensors continue a run bit for bit, on the same kind of machine. Values from outside need
  /// check_state() before anything else is called.
  virtual std::map<std::string, Tensor> state() const = 0;
  /// Throws FileError when state() is of another environment or version, or has a value that the
  /// rules cannot lead to and that a step or a picture could trip over.
  virtual void check_state() const = 0;
  /// True once reset was called, also before the checkpoint that was restored.
  virtual bool started() const = 0;
  /// A picture of environment i as it is now.
  virtual Canvas render(index_t i) const = 0;

 protected:
  VecEnv(EnvSpec spec, index_t size);

  // The work behind the checks of the public functions.
  virtual void do_reset(const Tensor& observation) = 0;
  virtual void do_step(const Tensor& actions, const StepBuffers& out) = 0;
  virtual void do_observe(const Tensor& observation) const = 0;
  EnvSpec spec_;
  index_t size_;
  Tensor tasks_, action_mask_;
};

using EnvPtr = std::unique_ptr<VecEnv>;

}  // namespace concord::rl
