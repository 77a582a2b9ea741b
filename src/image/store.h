// The local store of guest images: $XDG_DATA_HOME/doppel/images (else ~/.local/share/doppel/images).
//
//   NAME/image.conf    "key=value" lines: what it is and how it boots
//   NAME/root.img      the disk: raw, or any format that `--disk` knows
//   NAME/kernel, NAME/initrd    for a boot without firmware; may be absent in imported images
//
// A name appears when its image is whole, by one rename, and goes by one rename.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"

namespace doppel::image {

struct Image {
  std::string name;
  std::filesystem::path folder;
  std::string origin;    // "debian bookworm", "imported from disk.img"
  std::string packages;  // that were asked for besides the usual ones, joined by commas
  std::string append;    // the kernel's command line
  i64 created = 0;       // seconds since 1970

  std::filesystem::path root() const { return folder / "root.img"; }
  std::filesystem::path kernel() const { return folder / "kernel"; }
  std::filesystem::path initrd() const { return folder / "initrd"; }
  bool has_kernel() const;
  bool has_initrd() const;
  u64 size_bytes() const;  // of the disk file, holes included
  u64 used_bytes() const;  // of all files, holes not included
};

class Store {
 public:
  // Makes the folder if need be.
  static Result<Store> open();
  static Result<Store> open(std::filesystem::path folder);

  const std::filesystem::path& folder() const { return folder_; }
  Result<std::vector<Image>> list() const;  // by name
  Result<Image> find(std::string_view name) const;
  // Refused while a machine uses its disk.
  Result<> remove(std::string_view name) const;

  // An image that is being made: a temporary folder, which goes when this does, unless it was published.
  class Draft {
   public:
    Draft(Draft&& other) noexcept = default;
    Draft& operator=(Draft&&) = delete;
    ~Draft();
    const std::filesystem::path& folder() const { return folder_; }
    // Writes image.conf and gives the folder its name. `image` needs neither name nor folder.
    Result<> publish(Image image);

   private:
    friend class Store;
    Draft(std::filesystem::path folder, std::filesystem::path target, Fd lock)
        : folder_(std::move(folder)), target_(std::move(target)), lock_(std::move(lock)) {}
    std::filesystem::path folder_, target_;
    Fd lock_;  // on the folder: tells that its maker lives
  };
  // Fails at once if the name is taken or is none.
  Result<Draft> make(std::string_view name) const;

 private:
  explicit Store(std::filesystem::path folder) : folder_(std::move(folder)) {}
  void remove_leftovers() const;

  std::filesystem::path folder_;
};

// A usage error unless it is letters, digits, dots, dashes and underscores, at most 64, and begins with a letter or digit.
Result<> check_name(std::string_view name);

// A sparse copy that shares blocks with the original where the file system can.
Result<> copy_sparse(const std::string& from, const std::string& to);

}  // namespace doppel::image
