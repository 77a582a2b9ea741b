// `doppel image`: the local store of guest images.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace doppel::cli {

class ImageCommand {
 public:
  explicit ImageCommand(CLI::App& app);
  bool chosen() const { return command_->parsed(); }
  Result<int> execute();

 private:
  void add_import();
  void add_make();
  void add_list();
  void add_inspect();
  void add_remove();
  Result<> import() const;
  Result<> make() const;
  Result<> list() const;
  Result<> inspect() const;
  Result<> remove() const;

  CLI::App* command_;
  CLI::App *import_ = nullptr, *make_ = nullptr, *list_ = nullptr, *inspect_ = nullptr, *remove_ = nullptr;
  std::string path_, name_, kernel_, initrd_, append_;         // import
  std::string what_, packages_, size_ = "2G", root_password_;  // make
  std::vector<std::string> names_;
  bool json_ = false;
};

}  // namespace doppel::cli
