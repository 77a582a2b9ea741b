// `doppel disk`: makes disk images, looks at them, checks and changes them, while no machine runs on them.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "disk/copy.h"
#include "disk/open.h"
#include "disk/qcow2/create.h"

namespace doppel::cli {

class DiskCommand {
 public:
  explicit DiskCommand(CLI::App& app);
  bool chosen() const { return command_->parsed(); }
  Result<int> execute();

 private:
  // How a new qcow2 image is made, as it was given.
  struct NewImage {
    std::string format, cluster, refcount_bits = "16", version = "3", compression = "zlib", data_file;
    bool lazy = false, extended = false, raw_data = false;
    void add_to(CLI::App& command);
    Result<disk::qcow2::CreateOptions> parse(u64 size_bytes) const;
    Result<disk::Format> target(const std::string& path) const;
    bool any() const;
  };

  CLI::App* add(const char* name, const char* help, const char* examples);
  void add_commands();
  Result<int> create();
  Result<int> info();
  Result<int> check();
  Result<int> resize();
  Result<int> convert();
  Result<int> import(const std::string& format);
  Result<int> snapshot();
  Result<int> commit();
  Result<int> rebase();
  Result<int> map();
  Result<int> compare();

  Result<disk::Format> format_of(const std::string& path, const std::string& named) const;
  Result<std::unique_ptr<disk::BlockImage>> open(const std::string& path, const std::string& named, bool read_only);
  // One that must be qcow2; `why` names what needs that.
  Result<std::unique_ptr<disk::qcow2::Image>> open_qcow2(const disk::ImageOptions& options, const char* why);
  Result<disk::qcow2::CreateOptions> backed(u64& size_bytes);
  disk::Progress progress(const char* what) const;

  CLI::App* command_;
  std::vector<std::pair<CLI::App*, Result<int> (DiskCommand::*)()>> actions_;
  CLI::App *snapshot_list_ = nullptr, *snapshot_create_ = nullptr, *snapshot_apply_ = nullptr,
           *snapshot_delete_ = nullptr;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<disk::IoEngine> engine_;

  std::string path_, other_, format_, other_format_, size_, backing_, name_;
  NewImage new_image_;
  bool json_ = false, repair_ = false, shrink_ = false, compress_ = false, keep_ = false, unsafe_ = false,
       strict_ = false;
};

}  // namespace doppel::cli
