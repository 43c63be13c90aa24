// Several kinds of environments as one VecEnv: the tasks of a multitask agent.
#pragma once

#include <concord/rl/environment.h>

#include <vector>

namespace concord::rl {

/// The environments of all members in a row; those of member t have tasks() == t. Observations must
/// have one element type and shapes that differ in the leading axis only: smaller ones (fewer
/// channels) are padded with zeros. Discrete actions: as many as the member with the most has,
/// action_mask() says which exist for whom. Continuous actions: likewise the most dimensions, of
/// which a member reads its first ones; low and high must agree. An episode's limit stays the
/// member's. Throws ShapeError, DTypeError or ValueError when the members do not fit together.
EnvPtr join(std::vector<EnvPtr> members);

}  // namespace concord::rl
