#include <concord/experiments/json.h>
#include <concord/experiments/table.h>
#include <concord/experiments/trace.h>
#include <concord/tensor/check.h>

#include <fmt/format.h>

#include <fstream>

namespace concord::experiments {
namespace {

const char* name(Profile::Phase phase) {
  return phase == Profile::Phase::forward ? "forward" : "backward";
}

}  // namespace

void write_profile(const Profile& profile, int steps, const std::filesystem::path& folder) {
  const auto rows = profile.table();
  double total = 0;
  for (const auto& r : rows) total += r.total_us;
  Table table({"<op", "<direction", "calls/step", "ms/step", "share (%)"});
  for (const auto& r : rows) {
    table.add({r.op, name(r.phase), fmt::format("{:.1f}", static_cast<double>(r.calls) / steps),
               fmt::format("{:.3f}", r.total_us / 1000 / steps),
               fmt::format("{:.1f}", 100 * r.total_us / total)});
  }
  std::ofstream text(folder / "profile.txt");
  text << table.text();
  if (!text.flush())
    throw FileError("profile: cannot be written", {{"file", (folder / "profile.txt").string()}});

  // Trace event format: complete events ("X"), times in microseconds.
  Json::Array events;
  for (const auto& e : profile.events()) {
    events.push_back(
        Json::object({{"name", e.op},
                      {"cat", name(e.phase)},
                      {"ph", "X"},
                      {"ts", e.start_us},
                      {"dur", e.duration_us},
                      {"pid", 1},
                      {"tid", e.phase == Profile::Phase::forward ? 1 : 2},
                      {"args", Json::object({{"module", e.module ? *e.module : std::string()}})}}));
  }
  Json::object({{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}})
      .save(folder / "trace.json");
}

}  // namespace concord::experiments
