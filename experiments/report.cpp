#include <concord/experiments/report.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace concord::experiments {

namespace {

// Plots are drawn on white; in the dark their lightness is inverted and the hues turned back.
constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2329; --soft: #5f6b76; --line: #dfe3e8; --panel: #f6f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #141414; --ink: #e4e6e8; --soft: #9aa3ac; --line: #333639; --panel: #1d1e20; }
  figure svg { filter: invert(0.92) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
.summary { font-size: 1.1rem; color: var(--soft); }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .95rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); vertical-align: bottom; }
th, td { padding: .35rem 1.1rem .35rem 0; }
td { border-bottom: 1px solid var(--line); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; white-space: nowrap; }
tr.rule td { border-top: 2px solid var(--line); }
figure { margin: 1.25rem 0; }
figure[style] { display: inline-block; width: 100%; margin-right: 1rem; vertical-align: top; }
figure svg { display: block; width: 100%; max-width: 800px; height: auto; }
figure svg text { font-family: inherit; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; overflow-x: auto;
      font: .9rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.problem { border-left: 4px solid #e69f00; background: var(--panel); padding: .6rem 1rem; }
details > summary { cursor: pointer; color: var(--soft); margin: .5rem 0; }
footer { margin-top: 3.5rem; color: var(--soft); font-size: .85rem; }
@media print { details { display: block; } pre { white-space: pre-wrap; } }
)";

std::string body(const Section& section) {
  std::string out;
  for (const std::string& text : section.paragraphs) out += "<p>" + escape_html(text) + "</p>\n";
  for (const Table& table : section.tables) out += table.html();
  std::set<std::string> problems;
  for (const Drawing& drawing : section.drawings) {
    const std::string style =
        drawing.width > 0 ? fmt::format(" style=\"max-width:{}px\"", drawing.width) : "";
    if (!drawing.svg.empty())
      out += "<figure" + style + ">" + drawing.svg + "</figure>\n";
    else
      problems.insert(drawing.problem);
  }
  for (const std::string& problem : problems) {
    out += "<p class=\"problem\">No plots: " + escape_html(problem) +
           ". The tables hold the same figures.</p>\n";
  }
  if (!section.commands.empty()) {
    out += "<pre>";
    for (const std::string& command : section.commands) out += escape_html(command) + "\n";
    out += "</pre>\n";
  }
  return out;
}

/// Members of an object, nested ones as "outer inner", as rows of a two-column table.
void flatten(const std::string& prefix, const Json& json, Table& table) {
  for (const auto& [name, value] : json.as<Json::Object>()) {
    if (value.is<Json::Object>())
      flatten(prefix + name + " ", value, table);
    else
      table.add(
          {prefix + name, value.is<std::string>() ? value.as<std::string>() : value.dump(-1)});
  }
}

}  // namespace

std::string html(const Report& report) {
  std::string out = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  out += fmt::format("<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n",
                     escape_html(report.title), kStyle);
  out += fmt::format("<h1>{}</h1>\n", escape_html(report.title));
  if (!report.summary.empty())
    out += fmt::format("<p class=\"summary\">{}</p>\n", escape_html(report.summary));
  for (const Section& section : report.sections) {
    out += fmt::format("<section>\n<h2>{}</h2>\n", escape_html(section.title));
    if (section.folded)
      out += "<details><summary>show</summary>\n" + body(section) + "</details>\n";
    else
      out += body(section);
    out += "</section>\n";
  }
  return out + "<footer>Made by concord.</footer>\n</main>\n</body>\n</html>\n";
}

Section settings_section(const Settings& settings) {
  Table table({"<setting", "<value", "<default", "<what it is"});
  for (const Settings::Setting& setting : settings.all()) {
    const std::string value = to_string(setting.value), standard = standard_value(setting.type);
    table.add({setting.name, value, value == standard ? "" : standard, setting.help});
    if (value != standard) table.mark(1);
  }
  return {.title = "Settings", .tables = {std::move(table)}, .folded = true};
}

Section machine_section(const RunFolder& folder) {
  Table table({"<", "<"});
  flatten("", folder.config()["machine"], table);
  return {.title = "Machine and versions", .tables = {std::move(table)}, .folded = true};
}

Section repeat_section(const RunFolder& folder) {
  const std::string path = folder.path().string();
  return {.title = "To repeat this",
          .paragraphs = {"The same settings, seeds, thread count and version give the same metrics "
                         "file, bit for bit."},
          .commands = {"./" + folder.config()["command"].as<std::string>("command"),
                       "./concord report " + path + "          # draws this page again"}};
}

}  // namespace concord::experiments
