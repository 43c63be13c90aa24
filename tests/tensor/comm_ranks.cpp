// mpirun -n 3 comm_ranks WHAT: what ranks do when all is well, and when it is not. The tests look
// at the line that is printed.
#include <concord/tensor/check.h>
#include <concord/tensor/comm.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace concord;

namespace {

template <class T>
std::span<std::byte> bytes(T& values) {
  return std::as_writable_bytes(std::span(values));
}

void require(bool good, const char* what) {
  if (!good) throw ValueError(what);
}

/// Around the ring in both directions, two messages to the same rank told apart by their tags.
void exchange(Comm& comm) {
  const int n = comm.size(), me = comm.rank(), left = (me + n - 1) % n, right = (me + 1) % n;
  std::vector<double> mine(20001, me), more(1, 10 + me), from_left(20001), from_right(20001),
      more_left(1);
  for (int round = 0; round < 100; ++round) {
    comm.exchange(
        std::array{Outgoing{right, 1, bytes(more)}, Outgoing{left, 0, bytes(mine)},
                   Outgoing{right, 0, bytes(mine)}},
        std::array{Incoming{left, 0, bytes(from_left)}, Incoming{right, 0, bytes(from_right)},
                   Incoming{left, 1, bytes(more_left)}});
    require(from_left.back() == left && from_right.front() == right, "wrong values");
    require(more_left[0] == 10 + left, "wrong tag");
  }
  require(broadcast(comm, me == 0 ? "from rank 0" : "") == "from rank 0", "wrong text");
  require(any(comm, me == 2) && !any(comm, false), "ranks disagree");
  if (me == 0) std::printf("rank 0 of %d: good\n", n);
}

void run(Comm& comm, std::string_view what) {
  std::vector<double> one(1), two(2);
  if (what == "exchange") return exchange(comm);
  if (what == "size") {
    if (comm.rank() == 0) comm.exchange({}, std::array{Incoming{1, 0, bytes(two)}});
    if (comm.rank() == 1) comm.exchange(std::array{Outgoing{0, 0, bytes(one)}}, {});
  }
  if (what == "failure" && comm.rank() == 2) throw FileError("the disk is full");
  if (comm.rank() == 2 || what == "size") std::this_thread::sleep_for(std::chrono::seconds(20));
  if (comm.rank() == 1) {
    comm.exchange(std::array{Outgoing{0, 0, bytes(one)}}, {});
    std::this_thread::sleep_for(std::chrono::seconds(20));
  }
  comm.exchange({}, std::array{Incoming{1, 0, bytes(one)}, Incoming{2, 0, bytes(two)}});
}

}  // namespace

int main(int, char** argv) {
  const auto comm = connect(std::string_view(argv[1]) == "silence" ? std::chrono::milliseconds(500)
                                                                   : std::chrono::seconds(20));
  try {
    run(*comm, argv[1]);
  } catch (const std::exception& e) {
    comm->abort(e.what());
  }
}
