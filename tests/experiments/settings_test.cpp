#include <concord/experiments/settings.h>
#include <concord/tensor/check.h>
#include <doctest/doctest.h>

#include "../testing.h"

using namespace concord;
using namespace concord::experiments;
using concord::testing::error_text;

namespace {

Settings example() {
  Settings s("toy");
  s.add("epochs", Integer{.standard = 4, .full = 100, .low = 1, .high = 1000},
        "passes over the data");
  s.add("rate", Real{.standard = 1e-3, .low = 0, .high = 10}, "learning rate");
  s.add("momentum", Real{.standard = 0.9}, "of SGD");
  s.add("augment", Flag{false}, "flips");
  s.add("folder", Text{"data"}, "where the files are");
  s.add("net", Choice{.standard = "lenet", .valid = {"lenet", "resnet18"}, .kind = "network"},
        "trunk");
  s.add(
      "methods",
      Choices{
          .standard = {"equal", "pcgrad"}, .valid = {"equal", "pcgrad", "mgda"}, .kind = "method"},
      "compared");
  return s;
}

}  // namespace

TEST_CASE("settings: defaults, values from text, full length") {
  Settings s = example();
  CHECK(s.integer("epochs") == 4);
  CHECK(s.real("rate") == 1e-3);
  CHECK_FALSE(s.flag("augment"));
  CHECK(s.text("net") == "lenet");
  CHECK(s.list("methods") == std::vector<std::string>{"equal", "pcgrad"});
  s.assign("rate=0.25");
  s.assign("augment=on");
  s.assign("folder=a=b");
  s.assign("methods=mgda,equal");
  s.use_full();
  CHECK(s.integer("epochs") == 100);
  CHECK(s.real("rate") == 0.25);
  CHECK(s.flag("augment"));
  CHECK(s.text("folder") == "a=b");
  CHECK(s.list("methods") == std::vector<std::string>{"mgda", "equal"});
  s.assign("methods=all");
  CHECK(s.list("methods") == std::vector<std::string>{"equal", "pcgrad", "mgda"});
}

TEST_CASE("settings: the user's value stays under full, in either order") {
  Settings before = example(), after = example();
  before.assign("epochs=7");
  before.use_full();
  after.use_full();
  after.assign("epochs=7");
  CHECK(before.integer("epochs") == 7);
  CHECK(after.integer("epochs") == 7);
}

TEST_CASE("settings: errors by exact text") {
  Settings s = example();
  const auto set = [&](const char* pair) {
    return error_text<ValueError>([&] { s.assign(pair); });
  };
  CHECK(set("epoch=3") ==
        "unknown setting of toy 'epoch'\n"
        "  nearest  epochs\n"
        "  valid    epochs, rate, momentum, augment, folder, net, methods");
  CHECK(set("epochs=0") ==
        "toy: epochs is '0', expected a whole number from 1 to 1000\n"
        "  setting  epochs: passes over the data");
  CHECK(set("epochs=3.5") ==
        "toy: epochs is '3.5', expected a whole number from 1 to 1000\n"
        "  setting  epochs: passes over the data");
  CHECK(set("epochs=") ==
        "toy: epochs is '', expected a whole number from 1 to 1000\n"
        "  setting  epochs: passes over the data");
  CHECK(set("rate=fast") ==
        "toy: rate is 'fast', expected a number from 0 to 10\n"
        "  setting  rate: learning rate");
  CHECK(set("momentum=nan") ==
        "toy: momentum is 'nan', expected a number\n"
        "  setting  momentum: of SGD");
  CHECK(set("augment=maybe") ==
        "toy: augment is 'maybe', expected true or false\n"
        "  setting  augment: flips");
  CHECK(set("net=resnet") ==
        "unknown network 'resnet'\n"
        "  nearest  resnet18, lenet\n"
        "  valid    lenet, resnet18");
  CHECK(set("methods=equal,pcgrd") ==
        "unknown method 'pcgrd'\n"
        "  nearest  pcgrad\n"
        "  valid    equal, pcgrad, mgda");
  CHECK(set("methods=equal,equal") ==
        "toy: methods is 'equal,equal', expected all, or some of equal, pcgrad, mgda with commas "
        "between them\n"
        "  setting  methods: compared");
  CHECK(set("epochs") == "toy: --set has 'epochs', expected name=value");
  // Nothing of all that was taken.
  CHECK(s.command() == "concord run toy");
}

TEST_CASE("settings: JSON round trip keeps values, and what the user changed") {
  Settings s = example();
  s.use_full();
  s.assign("rate=0.1");
  s.assign("methods=mgda");
  s.assign("augment=yes");
  Settings back = example();
  back.from_json(Json::parse(s.to_json().dump()));
  CHECK(back.to_json() == s.to_json());
  CHECK(back.command() ==
        "concord run toy --full --set rate=0.1 --set augment=true --set methods=mgda");
  CHECK(back.integer("epochs") == 100);
}

TEST_CASE("settings: a damaged config says what is wrong") {
  Settings s = example();
  const std::string text = R"({"full": false, "values": {"epochs": -1}, "changed": []})";
  CHECK(error_text<ValueError>([&] { s.from_json(Json::parse(text)); }) ==
        "toy: epochs is '-1', expected a whole number from 1 to 1000\n"
        "  setting  epochs: passes over the data");
  CHECK(error_text<ValueError>([&] { s.from_json(Json::parse("{}")); }) ==
        "json: there is no 'full'");
}

TEST_CASE("settings: a command quotes what a shell would split") {
  Settings s = example();
  s.assign("folder=my data's");
  CHECK(s.command() == "concord run toy --set 'folder=my data'\\''s'");
}
