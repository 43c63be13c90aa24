#include <CLI/CLI.hpp>
int main(int argc, char** argv) {
  CLI::App app{"concord"};
  CLI11_PARSE(app, argc, argv);
}
