// See disk_command.h: the commands' arguments, and those that make images or copy them.
#include "cli/disk_command.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <filesystem>

#include "base/units.h"
#include "disk/buffers.h"
#include "disk/new_file.h"
#include "image/host_command.h"

namespace doppel::cli {

using disk::Format;

namespace {

// With a suffix that is no format's, raw.
Format format_by_name(const std::string& path) { return path.ends_with(".qcow2") ? Format::qcow2 : Format::raw; }

Result<u32> parse_power(const char* option, const std::string& text, u64 least, u64 most) {
  const auto value = parse_size(text);
  if (!value || *value < least || *value > most || !std::has_single_bit(*value))
    return usage_error(fmt::format("{}: '{}' is not a power of two from {} to {}", option, text, least, most));
  return static_cast<u32>(std::countr_zero(*value));
}

Result<> write_sparse(const std::string& path, u64 bytes) {
  auto file = TRY(disk::NewFile::create(path));
  if (::ftruncate(file.fd(), static_cast<off_t>(bytes)) != 0)
    return fail_errno(fmt::format("cannot make '{}' as large as {}", path, format_size(bytes)));
  return file.publish();
}

// Formats that qemu-img reads for us.
bool is_foreign(const std::string& format) {
  return format == "vmdk" || format == "vdi" || format == "vhdx" || format == "vpc";
}

std::string foreign_by_name(const std::string& path) {
  for (const char* format : {"vmdk", "vdi", "vhdx"}) {
    if (path.ends_with(std::string(".") + format)) return format;
  }
  return path.ends_with(".vhd") ? "vpc" : "";
}

}  // namespace

void DiskCommand::NewImage::add_to(CLI::App& command) {
  const auto group = "A new qcow2 image";
  command.add_option("--cluster-size", cluster, "512 to 2M; 64K unless given. Larger ones need less metadata")
      ->group(group);
  command.add_option("--version", version, "Of the format: 3, or 2 for very old programs")
      ->group(group)
      ->capture_default_str();
  command.add_option("--refcount-bits", refcount_bits, "1 to 64; with 1 it can have no snapshots")
      ->group(group)
      ->capture_default_str();
  command.add_option("--compression", compression, "How --compress packs: zlib or zstd")
      ->group(group)
      ->capture_default_str();
  command.add_flag("--lazy-refcounts", lazy, "Fewer writes while it is used; after a crash it is repaired when opened")
      ->group(group);
  command.add_flag("--extended-l2", extended, "Subclusters: small writes to a backed image copy less")->group(group);
}

bool DiskCommand::NewImage::any() const {
  return !cluster.empty() || version != "3" || refcount_bits != "16" || compression != "zlib" || lazy || extended ||
         !data_file.empty();
}

Result<disk::qcow2::CreateOptions> DiskCommand::NewImage::parse(u64 size_bytes) const {
  disk::qcow2::CreateOptions options{.size_bytes = size_bytes};
  if (version != "2" && version != "3") return usage_error(fmt::format("--version: '{}' is neither 2 nor 3", version));
  options.version = version == "2" ? 2 : 3;
  if (extended) options.cluster_bits = 17;
  if (!cluster.empty()) options.cluster_bits = TRY(parse_power("--cluster-size", cluster, 512, 2 * MiB));
  options.refcount_order = TRY(parse_power("--refcount-bits", refcount_bits, 1, 64));
  if (compression != "zlib" && compression != "zstd")
    return usage_error(fmt::format("--compression: '{}' is neither zlib nor zstd", compression));
  if (compression == "zstd") options.compression = disk::qcow2::Compression::zstd;
  options.lazy_refcounts = lazy;
  options.extended_l2 = extended;
  options.data_file = data_file;
  options.raw_data_file = raw_data;
  TRY(disk::qcow2::check_options(options));
  return options;
}

Result<Format> DiskCommand::NewImage::target(const std::string& path) const {
  const Format wanted = format.empty() ? format_by_name(path) : TRY(disk::parse_format(format));
  if (wanted == Format::raw && any()) {
    return usage_error(fmt::format(
        "'{}' would be a raw image, which has no such settings: give --format qcow2, or a name that ends in "
        ".qcow2",
        path));
  }
  return wanted;
}

CLI::App* DiskCommand::add(const char* name, const char* help, const char* examples) {
  CLI::App* added = command_->add_subcommand(name, help);
  added->footer(std::string("Examples:\n") + examples);
  return added;
}

DiskCommand::DiskCommand(CLI::App& app) {
  command_ = app.add_subcommand("disk", "Disk images: create, check, convert, snapshot");
  command_->require_subcommand(1);
  command_->footer(
      "An image is qcow2 if its name ends in .qcow2, else raw; --format says otherwise. A raw disk whose first bytes "
      "look "
      "like qcow2 is refused until its format is named: its guest may have written them.\n"
      "An image that a machine uses is refused. New images appear under their name when they are whole.");
  add_commands();
}

void DiskCommand::add_commands() {
  const auto file = [&](CLI::App* command) {
    command->add_option("FILE", path_, "The disk image")->required();
    command->add_option("--format", format_, "raw or qcow2");
    return command;
  };
  const auto json = [&](CLI::App* command) { command->add_flag("--json", json_, "As JSON"); };

  CLI::App* create = add("create", "Make an empty image",
                         "  doppel disk create root.qcow2 20G\n"
                         "  doppel disk create work.qcow2 --backing base.qcow2     changes go here, the base stays\n"
                         "  doppel disk create --format raw flat.img 8G");
  create->add_option("FILE", path_, "The image to make; nothing is overwritten")->required();
  create->add_option("SIZE", size_, "Such as 20G; may be left out with --backing");
  create->add_option("--format", new_image_.format, "raw or qcow2; else by the name");
  create->add_option(
      "--backing", backing_,
      "BASE[,format=raw|qcow2]: the image starts as that one, which must not change any more; a relative "
      "name is looked for from the new image");
  create->add_option("--data-file", new_image_.data_file, "The guest's data go to this new file, beside the image");
  create->add_flag("--raw-data-file", new_image_.raw_data, "Keep that file readable as a raw image");
  new_image_.add_to(*create);
  actions_.emplace_back(create, &DiskCommand::create);

  CLI::App* info = file(
      add("info", "What an image is", "  doppel disk info root.qcow2\n  doppel disk info --json root.qcow2"));
  json(info);
  actions_.emplace_back(info, &DiskCommand::info);

  CLI::App* check = file(
      add("check", "Look for errors in a qcow2 image, or repair them",
          "  doppel disk check root.qcow2\n  doppel disk check --repair root.qcow2\n"
          "The exit status is 0 if all is well, 3 if clusters are leaked (space is lost, no more), 1 if the "
          "image is damaged."));
  check->add_flag("--repair", repair_, "Count all clusters anew; the image changes at once or not at all");
  json(check);
  actions_.emplace_back(check, &DiskCommand::check);

  CLI::App* resize = file(add("resize", "Change a disk's size",
                              "  doppel disk resize root.qcow2 40G\n  doppel disk resize root.qcow2 +10G"));
  resize->add_option("SIZE", size_, "The new size; +SIZE: so much more")->required();
  resize->add_flag("--shrink", shrink_, "Let what lies beyond a smaller size be lost");
  actions_.emplace_back(resize, &DiskCommand::resize);

  CLI::App* convert = add("convert", "Copy an image into another format",
                          "  doppel disk convert root.img root.qcow2\n"
                          "  doppel disk convert --compress root.qcow2 small.qcow2\n"
                          "  doppel disk convert old.vmdk new.qcow2         (qemu-img reads VMDK, VDI and VHDX)");
  convert->add_option("FROM", path_, "The image to read, with what lies behind it")->required();
  convert->add_option("TO", other_, "The image to make; nothing is overwritten")->required();
  convert->add_option("--from-format", format_, "raw, qcow2, vmdk, vdi or vhdx; else by the name");
  convert->add_option("--format", new_image_.format, "raw or qcow2; else by the name");
  convert->add_flag("--compress", compress_, "Pack clusters; they are unpacked as they are written to");
  new_image_.add_to(*convert);
  actions_.emplace_back(convert, &DiskCommand::convert);

  CLI::App* snapshot = add("snapshot", "Snapshots inside a qcow2 image",
                           "  doppel disk snapshot create root.qcow2 before-upgrade\n"
                           "  doppel disk snapshot list root.qcow2\n"
                           "  doppel disk snapshot apply root.qcow2 before-upgrade     go back to it\n"
                           "  doppel disk snapshot delete root.qcow2 before-upgrade");
  snapshot->require_subcommand(1);
  const auto named = [&](const char* name, const char* help) {
    CLI::App* one = file(snapshot->add_subcommand(name, help));
    one->add_option("NAME", name_, "The snapshot's name, or its number")->required();
    return one;
  };
  snapshot_list_ = file(snapshot->add_subcommand("list", "List them"));
  json(snapshot_list_);
  snapshot_create_ = named("create", "Keep the disk as it is now");
  snapshot_apply_ = named("apply", "Make the disk what it was then; what it is now is lost");
  snapshot_delete_ = named("delete", "Forget one");
  actions_.emplace_back(snapshot, &DiskCommand::snapshot);

  CLI::App* commit = file(
      add("commit", "Write an image's changes to its backing file", "  doppel disk commit work.qcow2"));
  commit->add_flag("--keep", keep_, "Leave the changes in the image, too; else it is empty afterwards");
  actions_.emplace_back(commit, &DiskCommand::commit);

  CLI::App* rebase = file(
      add("rebase", "Change an image's backing file",
          "  doppel disk rebase work.qcow2 --backing new-base.qcow2\n"
          "  doppel disk rebase work.qcow2                          needs no other file afterwards\n"
          "  doppel disk rebase --unsafe work.qcow2 --backing moved/base.qcow2"));
  rebase->add_option("--backing", backing_, "BASE[,format=raw|qcow2]; without it the image will have none");
  rebase->add_flag("--unsafe", unsafe_, "Only change the name: the other file has the same contents");
  actions_.emplace_back(rebase, &DiskCommand::rebase);

  CLI::App* map = file(
      add("map", "Where an image's bytes lie", "  doppel disk map root.qcow2\n  doppel disk map --json root.qcow2"));
  json(map);
  actions_.emplace_back(map, &DiskCommand::map);

  CLI::App* compare = file(add("compare", "Whether two images hold the same disk",
                               "  doppel disk compare root.img root.qcow2\nThe exit status is 0 if they do, else 1."));
  compare->add_option("OTHER", other_, "The other image")->required();
  compare->add_option("--other-format", other_format_, "raw or qcow2");
  compare->add_flag("--strict", strict_, "Also the sizes; else a longer one may have zeroes at its end");
  actions_.emplace_back(compare, &DiskCommand::compare);
}

Result<int> DiskCommand::execute() {
  loop_ = TRY(EventLoop::create());
  engine_ = TRY(disk::IoEngine::create(*loop_));
  for (const auto& [command, action] : actions_) {
    if (command->parsed()) return (this->*action)();
  }
  return 0;
}

disk::Progress DiskCommand::progress(const char* what) const {
  if (::isatty(STDERR_FILENO) == 0) return [](u64, u64) {};
  using Clock = std::chrono::steady_clock;
  auto last = std::make_shared<Clock::time_point>(Clock::now());
  return [what, last](u64 done, u64 total) {
    const bool end = done == total;
    if (!end && Clock::now() - *last < std::chrono::milliseconds(100)) return;
    *last = Clock::now();
    fmt::print(stderr, "\r{} {:3}% of {}{}", what, total == 0 ? 100 : done / (total / 100 + 1), format_size(total),
               end ? "\r\x1b[K" : "");
    std::fflush(stderr);
  };
}

Result<Format> DiskCommand::format_of(const std::string& path, const std::string& named) const {
  const Format format = named.empty() ? Format::automatic : TRY(disk::parse_format(named));
  return disk::find_format(path, format);
}

Result<std::unique_ptr<disk::BlockImage>> DiskCommand::open(const std::string& path, const std::string& named,
                                                            bool read_only) {
  const Format format = TRY(format_of(path, named));
  return disk::open_disk({.path = path, .format = format, .read_only = read_only}, *engine_);
}

Result<std::unique_ptr<disk::qcow2::Image>> DiskCommand::open_qcow2(const disk::ImageOptions& options, const char* why) {
  if (TRY(format_of(path_, format_)) != Format::qcow2) {
    return fail(fmt::format("'{}' is a raw image, which {}; if it is qcow2, say --format qcow2", path_, why));
  }
  return disk::open_qcow2(path_, options, *engine_);
}

// The backing file that was asked for, opened once to see that it is there and how large it is.
Result<disk::qcow2::CreateOptions> DiskCommand::backed(u64& size_bytes) {
  disk::qcow2::CreateOptions options;
  options.backing_name = backing_.substr(0, backing_.find(','));
  const std::string rest = backing_.substr(options.backing_name.size());
  Format format = Format::automatic;
  if (rest.starts_with(",format=")) {
    format = TRY(disk::parse_format(rest.substr(8)));
  } else if (!rest.empty()) {
    return usage_error(fmt::format("--backing: unknown setting '{}': use format=raw or format=qcow2", rest.substr(1)));
  }
  const std::string behind = TRY(disk::backing_path(path_, options.backing_name));
  format = TRY(disk::find_format(behind, format));
  const auto backing = TRY(disk::open_backing(path_, behind, format, *engine_));
  options.backing_format = disk::format_name(format);
  size_bytes = backing->size_bytes();
  return options;
}

Result<int> DiskCommand::create() {
  if (size_.empty() && backing_.empty())
    return usage_error("the size is missing, such as: doppel disk create disk.qcow2 20G");
  const Format format = TRY(new_image_.target(path_));
  if (format == Format::raw && !backing_.empty())
    return usage_error("a raw image can have no backing file: give --format qcow2");
  disk::qcow2::CreateOptions backing;
  u64 size = 0;
  if (!backing_.empty()) backing = TRY(backed(size));
  if (!size_.empty()) {
    const auto given = parse_size(size_);
    if (!given) return usage_error("SIZE: " + given.error().message);
    size = *given;
  }
  if (size % disk::sector_bytes != 0) return usage_error("SIZE: a disk's size is a multiple of 512 bytes");
  if (format == Format::raw) {
    TRY(write_sparse(path_, size));
    return 0;
  }
  auto options = TRY(new_image_.parse(size));
  options.backing_name = backing.backing_name;
  options.backing_format = backing.backing_format;
  const std::string bytes = TRY(disk::qcow2::new_image(options));
  auto file = TRY(disk::NewFile::create(path_));
  TRY(write_all(file.fd(), {reinterpret_cast<const u8*>(bytes.data()), bytes.size()}));
  if (!options.data_file.empty()) {
    const auto beside = (std::filesystem::path(path_).parent_path() / options.data_file).string();
    TRY(write_sparse(beside, options.raw_data_file ? size : 0));
  }
  TRY(file.publish());
  return 0;
}

Result<int> DiskCommand::convert() {
  if (const std::string foreign = format_.empty() ? foreign_by_name(path_) : format_; is_foreign(foreign))
    return import(foreign);
  const Format format = TRY(new_image_.target(other_));
  if (compress_ && format != Format::qcow2) return usage_error("--compress: only qcow2 images can be compressed");
  const auto from = TRY(open(path_, format_, true));
  const u64 size = from->size_bytes();
  auto file = TRY(disk::NewFile::create(other_));
  if (format == Format::qcow2) {
    const auto options = TRY(new_image_.parse(size));
    const std::string bytes = TRY(disk::qcow2::new_image(options));
    TRY(write_all(file.fd(), {reinterpret_cast<const u8*>(bytes.data()), bytes.size()}));
  } else if (::ftruncate(file.fd(), static_cast<off_t>(size)) != 0) {
    return fail_errno(fmt::format("cannot make '{}' as large as {}", other_, format_size(size)));
  }
  {
    auto to = disk::open_disk({.path = file.working_path(), .format = format}, *engine_);
    if (!to) return fail(fmt::format("cannot make '{}': {}", other_, to.error().message));
    if (auto done = disk::copy_image(*from, **to, compress_, progress("converting")); !done)
      return fail(fmt::format("cannot make '{}': {}", other_, done.error().message));
    if (auto* made = disk::qcow2::as_qcow2(to->get())) TRY(made->settle());
  }
  TRY(file.publish());
  return 0;
}

// What is no format of ours is read by qemu-img, into a file of the wanted format.
Result<int> DiskCommand::import(const std::string& format) {
  if (!image::has_program("qemu-img")) {
    return fail(fmt::format(
        "'{}' is a {} image, which qemu-img must read, and it is not installed (Debian: qemu-utils)", path_, format));
  }
  const Format target = TRY(new_image_.target(other_));
  struct stat info{};
  if (::stat(path_.c_str(), &info) != 0) return fail_errno(fmt::format("cannot open '{}'", path_));
  if (new_image_.any())
    return usage_error("settings of the new image cannot be given here: convert the result once more");
  auto file = TRY(disk::NewFile::create(other_));
  const std::string folder = std::filesystem::path(other_).parent_path().string();
  std::string scratch = (folder.empty() ? "." : folder) + "/.doppel-import-XXXXXX";
  if (::mkdtemp(scratch.data()) == nullptr)
    return fail_errno(fmt::format("cannot create a folder beside '{}'", other_));
  const std::string made = scratch + "/image";
  std::vector<std::string> arguments{"qemu-img", "convert", "-f", format, "-O", std::string(disk::format_name(target))};
  if (compress_) arguments.emplace_back("-c");
  arguments.insert(arguments.end(), {std::filesystem::absolute(path_).string(), made});
  auto done = image::run({.arguments = arguments, .log = scratch + "/log"});
  if (done && ::link(made.c_str(), other_.c_str()) != 0) done = fail_errno(fmt::format("cannot create '{}'", other_));
  std::filesystem::remove_all(scratch);
  TRY(std::move(done));
  return 0;
}

}  // namespace doppel::cli
