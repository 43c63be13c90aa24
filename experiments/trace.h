// A Profile on disk: a table to read and a trace that Chrome's viewer (chrome://tracing) and
// Perfetto open.
#pragma once

#include <concord/autograd/profile.h>

#include <filesystem>

namespace concord::experiments {

/// Writes profile.txt (per op and direction: calls, milliseconds per step, share) and trace.json
/// into `folder`. Throws FileError.
void write_profile(const Profile& profile, int steps, const std::filesystem::path& folder);

}  // namespace concord::experiments
