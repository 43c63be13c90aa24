// The verbs list and info.
#include <concord/data/registry.h>
#include <concord/experiments/info.h>
#include <concord/experiments/verbs.h>
#include <concord/multitask/registry.h>
#include <concord/nn/network.h>
#include <concord/rl/registry.h>
#include <concord/tensor/check.h>
#include <fmt/format.h>

namespace concord::experiments {

namespace {

std::string options_text(const std::vector<std::pair<std::string, std::string>>& options) {
  std::string text;
  for (const auto& [name, value] : options) {
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value);
  }
  return text;
}

std::string experiments_text(std::span<const Experiment> all) {
  Table table({"<experiment", "<what it does", "<source"});
  for (const Experiment& e : all) table.add({e.name, e.help, e.source});
  return table.text();
}

std::string methods_text() {
  Table table({"<method", "<kind", "<needs", "<what it does", "<options and defaults", "<source"});
  for (const multitask::MethodInfo& m : multitask::all_methods()) {
    table.add({std::string(m.name), std::string(multitask::name(m.kind)), std::string(m.needs),
               std::string(m.help), options_text(multitask::default_options(m.name)),
               std::string(m.source)});
  }
  return table.text() +
         "On a device, mtadam and the methods that need elements loop over the gradient rows on "
         "the "
         "host:\ntheir rows come down and go up again in every step.\n";
}

std::string networks_text() {
  Table table({"<network", "<what it is", "<source"});
  for (const nn::NetworkEntry& n : nn::networks()) {
    table.add({std::string(n.name), std::string(n.help), std::string(n.source)});
  }
  return table.text();
}

std::string data_text() {
  Table table({"<data set", "<what it is", "<needs", "<source"});
  for (const data::DatasetEntry& d : data::datasets()) {
    table.add(
        {std::string(d.name), std::string(d.help), std::string(d.needs), std::string(d.source)});
  }
  return table.text();
}

std::string environments_text() {
  Table table({"<environment", "<what it is", "<options and defaults", "<source"});
  for (const rl::EnvEntry& e : rl::environments()) {
    table.add({std::string(e.name), std::string(e.help), options_text(rl::default_options(e.name)),
               std::string(e.source)});
  }
  return table.text();
}

std::string settings_text(const Settings& settings) {
  Table table({"<setting", "<default", "<with --full", "<what it is", "<takes"});
  for (const Settings::Setting& s : settings.all()) {
    table.add({s.name, standard_value(s.type), full_value(s.type), s.help, describe(s.type)});
  }
  return table.text();
}

}  // namespace

int list(const std::string& topic, std::span<const Experiment> all) {
  std::vector<std::string> topics{"experiments", "methods", "networks", "data", "environments"};
  if (topic.empty()) {
    fmt::print("{}\n{}\n{}\n{}\n{}\nThe settings of an experiment: concord list EXPERIMENT\n",
               experiments_text(all), methods_text(), networks_text(), data_text(),
               environments_text());
    return 0;
  }
  for (const Experiment& e : all) {
    if (e.name == topic) {
      fmt::print("{}: {}\n{}\n\n{}", e.name, e.help, e.source, settings_text(e.settings()));
      return 0;
    }
    topics.push_back(e.name);
  }
  if (topic == "experiments")
    fmt::print("{}", experiments_text(all));
  else if (topic == "methods")
    fmt::print("{}", methods_text());
  else if (topic == "networks")
    fmt::print("{}", networks_text());
  else if (topic == "data")
    fmt::print("{}", data_text());
  else if (topic == "environments")
    fmt::print("{}", environments_text());
  else
    throw_unknown("topic", topic, topics);
  return 0;
}

int info(int threads) {
  fmt::print("{}", info_text(choose_threads(threads)));
  if (const std::string warning = blas_warning(); !warning.empty())
    fmt::print(stderr, "warning: {}\n", warning);
  return 0;
}

}  // namespace concord::experiments
