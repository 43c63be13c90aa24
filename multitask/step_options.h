// What a step may do around any method: options of a run rather than of the method's formula.
#pragma once

#include <concord/multitask/blocks.h>
#include <concord/multitask/options.h>
#include <concord/tensor/types.h>

namespace concord::multitask {

/// Which gradient the heads follow.
enum class Heads {
  own,      ///< each its task's gradient, whatever the method decides for the shared part
  weighted  ///< times the task's weight, as when the weighted sum of the losses is minimised
};

/// Which gradients the method compares.
enum class Level {
  parameters,  ///< of the shared parameters
  features  ///< of the representation that all heads read: no T x P matrix, and the trunk is swept
            ///< once, with one row. For mgda: MGDA-UB, Sener and Koltun (2018), section 3.3
};

/// What the weights are multiplied by in the end: libraries disagree on how d grows with T.
enum class Rescale {
  none,         ///< the method's own scale, see its options
  times_tasks,  ///< the number of tasks present
  over_tasks,   ///< its inverse
  sum_length    ///< a factor that makes |d| = |sum_t g_t|, so that only directions are compared
};

/// What becomes of the T x P matrix G.
enum class Keep {
  full,  ///< kept
  bf16,  ///< kept as bfloat16, half as large; Gram matrix and direction are formed in f32 and f64
  none,  ///< not kept: its Gram matrix is formed layer by layer, then a combined sweep gives d
  automatic  ///< full or none, whichever autograd's cost model (block_grams.h) predicts to be
             ///< faster
};

struct StepOptions {
  Heads heads = Heads::own;
  Level level = Level::parameters;
  /// One Gram matrix, one answer, one state of the method per block. Smaller blocks than the whole
  /// go with Heads::own, Level::parameters and refresh = 1 only.
  Granularity granularity = Granularity::whole;
  /// Blocks whose Gram matrices are kept for telemetry; as fine as `granularity` at least.
  Granularity measure = Granularity::whole;
  Rescale rescale = Rescale::none;
  /// New weights every so many steps. In between, the last ones go into one sweep with a single row
  /// through the trunk. For methods that answer with weights alone. A task that had no weight yet
  /// brings new ones.
  int refresh = 1;
  /// At most so many of a step's tasks, drawn anew in every step, take part; the others are absent
  /// from it. 0: all. Not together with `refresh`.
  int tasks_per_step = 0;
  /// Other than full: for methods that answer with weights alone, at Level::parameters; none and
  /// automatic: in one block and one batch per step.
  Keep keep = Keep::full;
  int max_rows = 0;  ///< see SweepOptions
  DType dtype = DType::f32;
  Device device = kCpu;
};

/// The options granularity, measure, level, rescale, heads, refresh and tasks_per_step by name, as
/// far as they are given; the others as in `standard`. Throws as Options does.
StepOptions read_step_options(Options& options, const StepOptions& standard);

}  // namespace concord::multitask
