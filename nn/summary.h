// What a network consists of, read off a recorded forward pass.
#pragma once

#include <concord/autograd/parameters.h>
#include <concord/autograd/tape.h>

#include <string>
#include <vector>

namespace concord::nn {

struct SummaryRow {
  std::string module;  ///< dotted path; empty outside all modules
  std::string op;      ///< "conv2d"
  Shape output;
  index_t parameters = 0;  ///< elements of the parameters that first appear here
  index_t flops = 0;       ///< of the forward pass, multiplications and additions
};

struct Summary {
  std::vector<SummaryRow> rows;  ///< one per recorded op, in order
  index_t parameters = 0, flops = 0;
};

/// Run the network once with a tape (training or not), then summarize(store, tape).
Summary summarize(const ParameterStore& store, const Tape& tape);

}  // namespace concord::nn
