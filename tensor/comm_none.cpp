// A build without MPI.
#include <concord/tensor/check.h>
#include <concord/tensor/comm_mpi.h>
#include <fmt/format.h>

namespace concord {

std::string comm_library() {
  return "none (Debian: apt-get install libopenmpi-dev, then configure again; CONCORD_MPI=OFF "
         "keeps it "
         "out)";
}

std::unique_ptr<Comm> connect_mpi(int size, std::chrono::milliseconds) {
  throw UsageError(
      fmt::format("comm: started as one of {} ranks, but this build has no MPI, expected one rank",
                  size),
      {{"remedy", "install libopenmpi-dev and configure with -DCONCORD_MPI=ON"}});
}

}  // namespace concord
