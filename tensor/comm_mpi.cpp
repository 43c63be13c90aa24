// Ranks through MPI; the only file that knows it.
#include <concord/tensor/check.h>
#include <concord/tensor/comm_mpi.h>
#include <fmt/format.h>
#include <mpi.h>

#include <cstdio>
#include <exception>
#include <limits>
#include <thread>
#include <vector>

namespace concord {

namespace {

void check(int code, std::string_view doing) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw CommError(fmt::format("comm: {} failed: {}", doing,
                              std::string_view(text, static_cast<std::size_t>(length))));
}

/// The process's ranks of MPI_COMM_WORLD.
struct Place {
  int rank = 0, size = 0;
};

Place initialise() {
  int already = 0;
  MPI_Initialized(&already);
  if (already) throw UsageError("comm: connect() was called before, expected once per process");
  int provided = 0;
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  Place place;
  MPI_Comm_rank(MPI_COMM_WORLD, &place.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &place.size);
  return place;
}

class MpiComm final : public Comm {
 public:
  MpiComm(Place place, std::chrono::milliseconds patience)
      : Comm(place.rank, place.size), patience_(patience) {}

  ~MpiComm() override {
    // MPI_Finalize waits for all ranks; the others would wait for this one's messages.
    if (std::uncaught_exceptions() > exceptions_) MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Finalize();
  }

  void exchange(std::span<const Outgoing> send, std::span<const Incoming> receive) override {
    requests_.clear();
    for (const Incoming& m : receive) {
      MPI_Request& request = requests_.emplace_back();
      check(MPI_Irecv(m.bytes.data(), count(m.from, m.bytes), MPI_BYTE, m.from, m.tag,
                      MPI_COMM_WORLD, &request),
            "a receive");
    }
    for (const Outgoing& m : send) {
      MPI_Request& request = requests_.emplace_back();
      check(MPI_Isend(m.bytes.data(), count(m.to, m.bytes), MPI_BYTE, m.to, m.tag, MPI_COMM_WORLD,
                      &request),
            "a send");
    }
    const auto peer = [&](std::size_t k) {
      return k < receive.size() ? receive[k].from : send[k - receive.size()].to;
    };
    wait(peer);
    for (std::size_t k = 0; k < receive.size(); ++k) {
      int bytes = 0;
      MPI_Get_count(&statuses_[k], MPI_BYTE, &bytes);
      if (static_cast<std::size_t>(bytes) != receive[k].bytes.size()) {
        throw CommError(fmt::format("comm: rank {} sent {} bytes, expected {}", peer(k), bytes,
                                    receive[k].bytes.size()));
      }
    }
  }

  void abort(std::string_view why) override {
    fmt::print(stderr, "rank {} of {}: {}\n", rank(), size(), why);
    std::fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
    std::terminate();  // MPI_Abort does not come back
  }

 private:
  int count(int peer, std::span<const std::byte> bytes) const {
    if (peer < 0 || peer >= size() || peer == rank()) {
      throw ValueError(
          fmt::format("comm: a message between rank {} and rank {}, expected another "
                      "rank of the {}",
                      rank(), peer, size()));
    }
    if (bytes.size() > std::numeric_limits<int>::max()) {
      throw ValueError(
          fmt::format("comm: a message of {} bytes, expected less than 2 GiB", bytes.size()));
    }
    return static_cast<int>(bytes.size());
  }

  /// Until all requests are done. Polls instead of MPI_Waitall, which would wait for ever for a
  /// rank that hangs, and take a core from the others where ranks are more than cores.
  template <class Peer>
  void wait(const Peer& peer) {
    using Clock = std::chrono::steady_clock;
    statuses_.resize(requests_.size());
    const auto began = Clock::now();
    for (int done = 0; !done;) {
      const int code = MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                                   statuses_.data());
      if (code == MPI_ERR_IN_STATUS) {
        for (std::size_t k = 0; k < statuses_.size(); ++k) {
          if (const int error = statuses_[k].MPI_ERROR;
              error != MPI_SUCCESS && error != MPI_ERR_PENDING)
            check(error, fmt::format("the exchange with rank {}", peer(k)));
        }
      }
      check(code, "an exchange");
      if (done) return;
      if (Clock::now() - began > patience_) {
        std::size_t k = 0;
        for (int finished = 1; finished && k < requests_.size(); ++k)
          MPI_Request_get_status(requests_[k], &finished, MPI_STATUS_IGNORE);
        throw CommError(
            fmt::format("comm: nothing from rank {} for {} s, expected a message: it hangs, or "
                        "its machine is out of reach",
                        peer(k - 1), std::chrono::duration<double>(patience_).count()));
      }
      std::this_thread::yield();
    }
  }

  std::chrono::milliseconds patience_;
  int exceptions_ = std::uncaught_exceptions();
  std::vector<MPI_Request> requests_;
  std::vector<MPI_Status> statuses_;
};

}  // namespace

std::string comm_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string_view all(text, static_cast<std::size_t>(length));
  return std::string(all.substr(0, all.find(',')));
}

std::unique_ptr<Comm> connect_mpi(int size, std::chrono::milliseconds patience) {
  const Place place = initialise();
  if (place.size != size) {
    throw CommError(
        fmt::format("comm: MPI sees {} ranks, expected the {} that were started: the launcher is "
                    "of another MPI than this build's",
                    place.size, size));
  }
  return std::make_unique<MpiComm>(place, patience);
}

}  // namespace concord
