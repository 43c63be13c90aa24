#include <concord/data/files.h>
#include <concord/experiments/grid_picture.h>
#include <concord/experiments/table.h>
#include <concord/rl/tabular/play.h>
#include <fmt/format.h>

#include <cstdint>
#include <iterator>

namespace concord::experiments {
namespace {

constexpr int kCell = 46, kTitle = 30;  // pixels

void write(const std::filesystem::path& base, const char* ending,
           std::span<const std::byte> bytes) {
  std::filesystem::path path = base;
  path += ending;
  std::filesystem::create_directories(path.parent_path());
  data::write_file(path, bytes);
}

void add_cell(std::string& svg, const rl::World& world, index_t cell, int top,
              const PolicyPanel& panel) {
  const int x = static_cast<int>(cell % world.width) * kCell;
  const int y = static_cast<int>(cell / world.width) * kCell + top;
  const char* fill = world.wall[cell] ? "#343840" : world.terminal[cell] ? "#8cc79a" : "#faf8f3";
  fmt::format_to(
      std::back_inserter(svg),
      "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" stroke=\"none\" fill=\"{}\"/>\n", x + 1,
      y + 1, kCell - 2, kCell - 2, fill);
  if (world.wall[cell] || world.terminal[cell]) return;
  const MoveProbabilities p = panel.policy(cell);
  const double cx = x + kCell / 2.0, cy = y + kCell / 2.0;
  fmt::format_to(std::back_inserter(svg),
                 "<circle cx=\"{}\" cy=\"{}\" r=\"{:.2f}\" stroke=\"none\" fill=\"#8c8e94\"/>\n",
                 cx, cy, 1.5 + 6 * p[0]);
  constexpr int kDx[] = {0, 0, -1, 1}, kDy[] = {-1, 1, 0, 0};
  for (std::size_t m = 0; m < 4; ++m) {
    const double length = (kCell / 2.0 - 2) * p[m + 1];
    if (length < 1) continue;
    const double ex = cx + kDx[m] * length, ey = cy + kDy[m] * length, h = 5 * p[m + 1];
    fmt::format_to(std::back_inserter(svg),
                   "<path d=\"M{:.2f} {:.2f}L{:.2f} {:.2f}M{:.2f} {:.2f}L{:.2f} {:.2f}L{:.2f} "
                   "{:.2f}\"/>\n",
                   cx, cy, ex, ey, ex - h * (kDx[m] + kDy[m]), ey - h * (kDx[m] + kDy[m]), ex, ey,
                   ex - h * (kDx[m] - kDy[m]), ey - h * (kDy[m] - kDx[m]));
  }
}

std::string base64(std::span<const std::byte> bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k)
      word = word << 8 | (i + k < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k)
      text += i + k > bytes.size() ? '=' : kDigits[word >> (18 - 6 * k) & 63];
  }
  return text;
}

}  // namespace

Drawing draw_policies(const rl::World& world, std::span<const PolicyPanel> panels,
                      const std::filesystem::path& base) {
  const int panel_height = kTitle + world.height * kCell + 8;
  const int width = world.width * kCell, height = panel_height * static_cast<int>(panels.size());
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"16\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n"
      "<g stroke-width=\"2.5\" fill=\"none\" stroke=\"#2a5ea8\" stroke-linecap=\"round\">\n",
      width, height);
  std::string titles;
  int top = 0;
  for (const PolicyPanel& panel : panels) {
    titles += fmt::format("<text x=\"2\" y=\"{}\">{}</text>\n", top + 20, escape_html(panel.title));
    for (index_t cell = 0; cell < world.cells(); ++cell)
      add_cell(svg, world, cell, top + kTitle, panel);
    top += panel_height;
  }
  svg += "</g>\n" + titles + "</svg>\n";
  write(base, ".svg", std::as_bytes(std::span(svg)));
  return {.svg = std::move(svg), .problem = ""};
}

std::vector<rl::Canvas> play_frames(const rl::Mdp& mdp, const rl::tabular::ActionTable& policy,
                                    int episodes, int steps) {
  std::vector<rl::Canvas> frames;
  rl::Draws draws{Rng(1).fork("episodes")};
  const auto show = [&](index_t state, int times) {
    rl::Canvas frame = mdp.scene[0];
    frame.disc(mdp.places[state].first, mdp.places[state].second, 3.4, rl::kBlue);
    frames.insert(frames.end(), times, frame.scaled(3));
  };
  for (int episode = 0; episode < episodes; ++episode) {
    index_t s = rl::tabular::draw_start(mdp, draws);
    show(s, 3);
    for (int t = 0; t < steps; ++t) {
      const index_t a = rl::tabular::draw(policy[s], draws);
      const rl::Consequence& c = rl::tabular::draw_consequence(mdp, s, a, draws);
      s = c.next;
      show(s, c.terminal ? 5 : 1);
      if (c.terminal) break;
    }
  }
  return frames;
}

Drawing draw_episodes(std::span<const rl::Canvas> frames, int centiseconds, const std::string& text,
                      const std::filesystem::path& base) {
  const std::vector<std::byte> gif = rl::encode_gif(frames, centiseconds);
  write(base, ".gif", gif);
  return {.svg = fmt::format("<img src=\"data:image/gif;base64,{}\" alt=\"{}\" "
                             "style=\"image-rendering: pixelated\"><figcaption>{}</figcaption>",
                             base64(gif), escape_html(text), escape_html(text)),
          .problem = ""};
}

}  // namespace concord::experiments
