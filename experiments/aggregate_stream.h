// Methods for any language: JSON lines in, JSON lines out, one process for thousands of calls.
//
//   {"method": "cagrad", "options": {"c": 0.4}, "matrix": [[1, 0], [-1, 2]], "id": 7}
//   {"id": 7, "weights": [...], "direction": [...], "gram": [[...]], "residual": ..., "note": ""}
#pragma once

#include <concord/experiments/json.h>
#include <concord/multitask/aggregate.h>

#include <cstdint>
#include <iosfwd>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace concord::experiments {

/// Answers requests one by one. A request is an object with the members
///
/// - method, options: as in the registry; option values are texts, numbers, true or false, or lists
///   of numbers
/// - matrix: one list of numbers per task; or gram: their inner products, for methods that need no
///   more, when the gradients are too long to send (the direction is null then)
/// - losses: one per row, for methods that need them
/// - key: names an object that is kept, with its state, for later requests with this key; method
///   and options may be left out then. Without a key every request meets a fresh object
/// - step, epoch: of the training run; step counts the requests of a key from 0 unless given
/// - seed: of random methods, 0 unless given; a kept object has that of its first request
/// - tasks: ids of the rows' tasks when some are absent from this step
/// - id: anything; comes back with the answer
///
/// or, for a kept object: {"key": ..., "losses_after": [...]}, the losses after the step, for
/// methods that learn from them; {"key": ..., "forget": true} drops it.
class AggregateServer {
 public:
  /// Throws ValueError for a request that is not as above, and what the method throws; a kept
  /// object is as it was then.
  Json answer(const Json& request);

 private:
  struct Kept {
    std::string method;
    multitask::OptionMap options;
    std::unique_ptr<multitask::Aggregator> aggregator;
    Rng rng;
    std::int64_t steps = 0;
  };

  Kept fresh(const Json& request) const;
  multitask::AggregateResult step(Kept& kept, const Json& request) const;

  std::map<std::string, Kept, std::less<>> kept_;
};

/// One line of `out` per line of `in`, in order; empty lines are skipped. A line that cannot be
/// answered is answered by {"error": "line 3: ...", "line": 3} (and its id, when it has one), and
/// the stream goes on.
void aggregate_stream(std::istream& in, std::ostream& out);

}  // namespace concord::experiments
