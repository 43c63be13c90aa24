#include <concord/autograd/profile.h>

#include <algorithm>
#include <map>
#include <utility>

namespace concord {

void Profile::end(const char* op, const std::string* module, Phase phase) {
  const auto now = Clock::now();
  const auto us = [](Clock::duration d) {
    return std::chrono::duration<double, std::micro>(d).count();
  };
  const std::string* path = module ? &*modules_.insert(*module).first : nullptr;
  events_.push_back({op, path, phase, us(last_ - origin_), us(now - last_)});
  last_ = Clock::now();  // what the profile itself costs counts for nobody
}

std::vector<Profile::Row> Profile::table() const {
  std::map<std::pair<std::string, Phase>, Row> sums;
  for (const Event& e : events_) {
    Row& r = sums[{e.op, e.phase}];
    r.op = e.op;
    r.phase = e.phase;
    ++r.calls;
    r.total_us += e.duration_us;
  }
  std::vector<Row> rows;
  for (auto& [key, row] : sums) rows.push_back(std::move(row));
  std::sort(rows.begin(), rows.end(),
            [](const Row& a, const Row& b) { return a.total_us > b.total_us; });
  return rows;
}

}  // namespace concord
