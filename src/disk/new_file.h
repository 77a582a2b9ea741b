// A file that appears under its name when it is whole: until then it has none, or a hidden one beside it, and goes if the
// program does not finish it.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace doppel::disk {

class NewFile {
 public:
  // Refused when the name is taken.
  static Result<NewFile> create(const std::string& path);
  NewFile(NewFile&& other) noexcept = default;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  // What it can be opened by meanwhile.
  std::string working_path() const;
  int fd() const { return fd_.get(); }
  // Gives it its name, durably; refused when that was taken meanwhile.
  Result<> publish();

 private:
  NewFile(std::string path, Fd fd, std::string hidden)
      : path_(std::move(path)), hidden_(std::move(hidden)), fd_(std::move(fd)) {}
  std::string path_, hidden_;  // hidden: empty where the host has files without a name
  Fd fd_;
};

}  // namespace doppel::disk
