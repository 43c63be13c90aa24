// One rank by itself; several are tensor.comm.* (comm_ranks.cpp) and experiments.mpi.
#include <concord/tensor/check.h>
#include <concord/tensor/comm.h>
#include <concord/tests/testing.h>
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>

using namespace concord;

TEST_CASE("the only rank has nobody to talk to, and agrees with itself") {
  const auto comm = connect();
  CHECK(comm->rank() == 0);
  CHECK(comm->size() == 1);
  comm->exchange({}, {});
  std::byte byte{};
  CHECK(testing::error_text<ValueError>([&] {
          comm->exchange(std::array{Outgoing{1, 0, {&byte, 1}}}, {});
        }) == "comm: a message to rank 1, expected none: this is the only rank");
  CHECK(broadcast(*comm, "text") == "text");
  CHECK(any(*comm, true));
  CHECK(!any(*comm, false));
}

TEST_CASE("started as one of several without MPI: says so") {
  if (!comm_library().starts_with("none")) return;
  ::setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  const std::string text = testing::error_text<UsageError>([] { connect(); });
  ::unsetenv("OMPI_COMM_WORLD_SIZE");
  CHECK(text.starts_with(
      "comm: started as one of 4 ranks, but this build has no MPI, expected one rank\n"));
  CHECK(text.find("libopenmpi-dev") != std::string::npos);
}
