// A 9P2000.L session over one host folder: what Linux' v9fs asks for (Linux, include/net/9p/9p.h; the dialect's description:
// diod's protocol.md). The guest writes the messages: every field is untrusted.
//
// Not thread-safe: one request at a time, on any thread. Requests may block on the host's disk.
#pragma once

#include <sys/stat.h>

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "device/share/host_folder.h"
#include "device/share/message.h"
#include "state/archive.h"

namespace doppel::p9 {

constexpr u32 largest_message = 512 << 10;
constexpr u32 least_message = 4096;
constexpr u32 no_fid = ~u32{0};
constexpr std::size_t error_bytes = header_bytes + 4;  // of the answer that always has to fit

class Server {
 public:
  static Result<std::unique_ptr<Server>> create(const std::string& path, bool read_only);

  // Answers one message (at least header_bytes long) with at most `capacity` bytes (at least error_bytes).
  std::vector<u8> answer(std::span<const u8> request, std::size_t capacity);

  // Forgets the session: its fids, their locks, its message size.
  void reset();
  std::size_t fids() const { return fids_.size(); }

  // The session by its paths. Rejects what cannot be opened again.
  void state(state::Archive& archive);

 private:
  struct Fid {
    Fd inode;          // O_PATH
    std::string path;  // from the root; kept right through the guest's own renames
    Fd file;           // when open
    int flags = 0;     // that it was opened with
  };
  using Fields = Reader&;
  using Answer = Writer&;
  using Handler = int (Server::*)(Fields, Answer);  // 0, or the errno to answer with

  Server(HostFolder folder, std::string path, bool read_only);
  static Handler handler_of(u8 type);

  // session
  int version(Fields, Answer);
  int attach(Fields, Answer);
  int auth(Fields, Answer);
  int flush(Fields, Answer);
  int clunk(Fields, Answer);
  // tree
  int walk(Fields, Answer);
  int lcreate(Fields, Answer);
  int symlink(Fields, Answer);
  int mknod(Fields, Answer);
  int mkdir(Fields, Answer);
  int link(Fields, Answer);
  int rename(Fields, Answer);
  int renameat(Fields, Answer);
  int unlinkat(Fields, Answer);
  int remove(Fields, Answer);
  // contents
  int lopen(Fields, Answer);
  int read(Fields, Answer);
  int write(Fields, Answer);
  int readdir(Fields, Answer);
  int readlink(Fields, Answer);
  int fsync(Fields, Answer);
  int lock(Fields, Answer);
  int getlock(Fields, Answer);
  // attributes
  int getattr(Fields, Answer);
  int setattr(Fields, Answer);
  int statfs(Fields, Answer);
  int xattr(Fields, Answer);

  Fid* find(u32 fid);
  int add(u32 number, Fid fid);
  std::optional<Fid> step(const Fid& from, const std::string& name);
  int put_qid_of(int inode, Answer) const;
  int put_qid_of_child(const Fid& folder, const std::string& name, Answer) const;
  int rename_path(int from_folder, const std::string& from_folder_path, const std::string& from, const Fid& to_folder,
                  const std::string& to);
  int set_size(const Fid& fid, const struct stat& info, u64 size);
  void load(state::Archive& archive);

  const HostFolder folder_;
  const std::string path_;
  const bool read_only_;
  const std::size_t most_fids_;
  u32 message_bytes_ = largest_message;
  std::map<u32, Fid> fids_;
};

// What the parts of the server share.
constexpr u8 qid_folder = 0x80, qid_link = 0x02, qid_file = 0;
void put_qid(const struct stat& info, Writer& answer);
std::string join(const std::string& folder, const std::string& name);
std::pair<std::string, std::string> split(const std::string& path);  // folder, name
constexpr unsigned permission_bits = 01777;                          // never set-user-ID or set-group-ID

}  // namespace doppel::p9
