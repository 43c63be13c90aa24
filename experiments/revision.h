// Which concord this is.
#pragma once

#include <string_view>

namespace concord::experiments {

inline constexpr std::string_view kVersion = CONCORD_VERSION;

/// The first twelve digits of the commit the build was made from, or "unknown" outside a git clone.
std::string_view revision();

}  // namespace concord::experiments
