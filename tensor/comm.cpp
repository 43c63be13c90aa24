#include <concord/tensor/check.h>
#include <concord/tensor/comm.h>
#include <concord/tensor/comm_mpi.h>
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace concord {

namespace {

/// The one rank of one: there is nobody to talk to.
class Alone final : public Comm {
 public:
  Alone() : Comm(0, 1) {}

  void exchange(std::span<const Outgoing> send, std::span<const Incoming> receive) override {
    if (send.empty() && receive.empty()) return;
    throw ValueError(fmt::format("comm: a message {} rank {}, expected none: this is the only rank",
                                 send.empty() ? "from" : "to",
                                 send.empty() ? receive.front().from : send.front().to));
  }

  void abort(std::string_view why) override {
    fmt::print(stderr, "rank 0 of 1: {}\n", why);
    std::exit(1);
  }
};

/// How many ranks the launcher says there are: Open MPI's mpirun, MPICH's and Slurm's.
int launched_ranks() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  return 1;
}

std::vector<Outgoing> to_all(const Comm& comm, std::span<const std::byte> bytes) {
  std::vector<Outgoing> messages;
  for (int rank = 1; rank < comm.size(); ++rank) messages.push_back({rank, 0, bytes});
  return messages;
}

}  // namespace

std::unique_ptr<Comm> connect(std::chrono::milliseconds patience) {
  const int ranks = launched_ranks();
  if (ranks > 1) return connect_mpi(ranks, patience);
  return std::make_unique<Alone>();
}

void broadcast(Comm& comm, std::span<std::byte> bytes) {
  if (comm.rank() == 0) {
    comm.exchange(to_all(comm, bytes), {});
  } else {
    comm.exchange({}, std::array{Incoming{0, 0, bytes}});
  }
}

std::string broadcast(Comm& comm, std::string text) {
  std::uint64_t length = text.size();
  broadcast(comm, std::as_writable_bytes(std::span(&length, 1)));
  text.resize(length);
  broadcast(comm, std::as_writable_bytes(std::span(text)));
  return text;
}

bool any(Comm& comm, bool here) {
  std::vector<std::uint8_t> flags(static_cast<std::size_t>(comm.size()), here);
  if (comm.rank() == 0) {
    std::vector<Incoming> all;
    for (int rank = 1; rank < comm.size(); ++rank)
      all.push_back({rank, 0, std::as_writable_bytes(std::span(flags).subspan(rank, 1))});
    comm.exchange({}, all);
    for (const std::uint8_t flag : flags) here = here || flag;
  } else {
    comm.exchange(std::array{Outgoing{0, 0, std::as_bytes(std::span(flags).first(1))}}, {});
  }
  broadcast(comm, std::as_writable_bytes(std::span(&here, 1)));
  return here;
}

}  // namespace concord
