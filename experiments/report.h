// report.html: one file that needs nothing else, neither network nor scripts; light and dark.
#pragma once

#include <concord/experiments/plot.h>
#include <concord/experiments/run_folder.h>
#include <concord/experiments/settings.h>
#include <concord/experiments/table.h>

#include <string>
#include <vector>

namespace concord::experiments {

/// Shown in the order of the members; whatever is empty is left out.
struct Section {
  std::string title;
  std::vector<std::string> paragraphs;  ///< plain text
  std::vector<Table> tables;
  std::vector<Drawing> drawings;      ///< a problem is shown once, in place of the plots
  std::vector<std::string> commands;  ///< lines to type
  bool folded = false;                ///< closed until clicked: long tables of details
};

struct Report {
  std::string title;
  std::string summary;  ///< one or two sentences under the title
  std::vector<Section> sections;
};

std::string html(const Report& report);

// Sections that every report ends with.
/// All settings of a run: value, default, the line of help.
Section settings_section(const Settings& settings);
/// The machine, versions and revision in the folder's config.json.
Section machine_section(const RunFolder& folder);
/// The exact commands that repeat, resume and compare this run.
Section repeat_section(const RunFolder& folder);

}  // namespace concord::experiments
