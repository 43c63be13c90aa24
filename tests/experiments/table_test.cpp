#include <concord/experiments/table.h>
#include <concord/tensor/check.h>
#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "../testing.h"

using namespace concord;
using namespace concord::experiments;
using concord::testing::error_text;

TEST_CASE("mean: standard error of the mean, and none for a single value") {
  const std::array values{1.0, 2.0, 4.0, 5.0};
  const Mean m = mean_of(values);
  CHECK(m.mean == 3);
  CHECK(m.error == doctest::Approx(std::sqrt(10.0 / 3 / 4)));
  CHECK(to_string(m) == "3.00 ± 0.91");
  CHECK(to_string(mean_of(std::span(values).first(1)), 1) == "1.0");
  CHECK(to_string(mean_of({})) == "-");
  // Student's t: 2.776 for 4 degrees of freedom, 2.262 for 9, 1.984 for 99.
  CHECK(half_width_95({.error = 1, .count = 5}) == doctest::Approx(2.776).epsilon(0.02));
  CHECK(half_width_95({.error = 2, .count = 10}) == doctest::Approx(2 * 2.262).epsilon(0.003));
  CHECK(half_width_95({.error = 1, .count = 100}) == doctest::Approx(1.984).epsilon(0.001));
}

TEST_CASE("table: terminal, Markdown and HTML") {
  Table table({"<method", "left (%)"});
  table.add({"equal", "87.31 ± 0.12"});
  table.rule();
  table.add({"a<b", "9"});
  table.mark(1);
  CHECK(table.text() ==
        "method      left (%)\n"
        "────────────────────\n"
        "equal   87.31 ± 0.12\n"
        "────────────────────\n"
        "a<b                9\n");
  CHECK(table.text(true).find("\x1b[1m9\x1b[0m\n") != std::string::npos);
  CHECK(table.markdown() ==
        "| method | left (%) |\n"
        "|---|---:|\n"
        "| equal | 87.31 ± 0.12 |\n"
        "| a<b | **9** |\n");
  CHECK(table.html() ==
        "<div class=\"table\"><table>\n"
        "<thead><tr><th>method</th><th class=\"n\">left (%)</th></tr></thead>\n<tbody>\n"
        "<tr><td>equal</td><td class=\"n\">87.31 ± 0.12</td></tr>\n"
        "<tr class=\"rule\"><td>a&lt;b</td><td class=\"n\"><b>9</b></td></tr>\n"
        "</tbody></table></div>\n");
  CHECK(error_text<ValueError>([&] { table.add({"x"}); }) == "table: a row of 1 cells, expected 2");
}
