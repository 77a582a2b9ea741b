// Arguments: what is understood, and what is refused with one line and which status.
#include "cli/cli.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "cli/options.h"

namespace doppel::cli {
namespace {

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

int run(const std::string& arguments, std::string& out, std::string& errors) {
  std::vector<std::string> words = split("doppel " + arguments);
  std::vector<const char*> argv;
  for (const auto& word : words) argv.push_back(word.c_str());
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int status = main(static_cast<int>(argv.size()), argv.data());
  std::fflush(stdout);
  out = ::testing::internal::GetCapturedStdout();
  errors = ::testing::internal::GetCapturedStderr();
  return status;
}

void check_refused(const std::string& arguments, int status, const std::string& message) {
  std::string out, errors;
  EXPECT_EQ(run(arguments, out, errors), status) << arguments;
  EXPECT_EQ(errors, "doppel: " + message + "\n") << arguments;
  EXPECT_EQ(out, "") << arguments;
}

TEST(Cli, MistakesInArguments) {
  check_refused("run", 2, "nothing to boot: give --image NAME, --kernel FILE, or --load FILE");
  check_refused("run --kernel x --memory abc", 2,
                "--memory: 'abc' is not a size: give a number with an optional K, M, G or T, such as 512M");
  check_refused("run --kernel x --memory 0", 2, "a machine has 4 MiB to 1 TiB of memory, not 0 bytes");
  check_refused("run --kernel x --memory 9999T", 2, "a machine has 4 MiB to 1 TiB of memory, not 9999 TiB");
  check_refused("run --kernel x --cpus 9", 2, "a machine has 1 to 8 CPUs, not 9");
  check_refused("run --kernel x --cpus many", 2, "--cpus: 'many' is not a number");
  check_refused("run --kernel x --engine kvm", 2,
                "--engine: 'kvm' does not exist yet: use auto, translator or interpreter");
  check_refused("run --kernel x --engine warp", 2,
                "--engine: unknown engine 'warp': use auto, translator or interpreter");
  check_refused("run --kernel x --cpu-model 486", 2,
                "--cpu-model: unknown model '486': use x86-64-v2, x86-64-v3 or max");
  check_refused("run --kernel x --nic token-ring", 2,
                "--nic: unknown network 'token-ring': use none, user, tap or socket");
  check_refused("run --kernel x --nic tap", 2, "--nic tap: say which with name=NAME");
  check_refused("run --kernel x --publish 80:80", 2, "--publish needs --nic user");
  check_refused("run --kernel x --console hvc", 2, "--console: unknown device 'hvc': use serial or virtio");
  check_refused("run --kernel x --clock sun", 2, "--clock: unknown clock 'sun': use host or instructions");
  check_refused("run --kernel x --disk a,format=vdi", 2, "--disk: unknown format 'vdi': use raw or qcow2");
  check_refused("run --kernel x --disk a,cache=warm", 2,
                "--disk: unknown cache mode 'warm': use writeback, writethrough, none, directsync or unsafe");
  check_refused("run --kernel x --disk a,fast", 2,
                "--disk: unknown setting 'fast': use format=, bus=, cache=, snapshot, readonly or serial=");
  check_refused("run --kernel x --disk a,bus=ide", 2, "--disk: unknown bus 'ide': use virtio or scsi");
  check_refused("run --kernel /etc/passwd --cdrom /nonexistent", 1, "the CD-ROM image '/nonexistent' does not exist");
  check_refused("run --kernel x --trace all", 2,
                "unknown trace 'all': use instructions, exceptions, io, mmio or interrupts, joined with +");
  check_refused("run --kernel x --serial tcp", 2, "--serial: unknown connection 'tcp': use stdio, none or file:PATH");
  check_refused("run --kernel x --save-at 5 f", 2,
                "--save-at needs --clock instructions: only then is an instruction count a point in time");
  check_refused("run --kernel x --verify --engine interpreter", 2,
                "--verify compares the translator with the interpreter: it needs --engine translator or auto");
  check_refused("run --kernel x --verify --nic user", 2,
                "--nic user needs --clock host: when its packets come is not repeatable");
  check_refused("run --kernel x --perf-map --engine interpreter", 2, "--perf-map needs --engine translator or auto");
  check_refused("run --kernel x --translation-cache 4K", 2, "--translation-cache is 1 MiB to 1 GiB, not 4 KiB");
  check_refused("run --kernel x --translation-cache 2G", 2, "--translation-cache is 1 MiB to 1 GiB, not 2 GiB");
  check_refused("run --kernel x --log loud", 2, "unknown log level 'loud': use error, warning, info or debug");
  check_refused("run --wings", 2, "unknown argument '--wings' (see doppel --help)");
  check_refused("fly", 2, "unknown command 'fly': use run, machine, image or disk (see doppel --help)");
  check_refused("", 2, "a command is missing: run, machine, image or disk (see doppel --help)");
}

TEST(Cli, FailuresOfTheHost) {
  check_refused("run --kernel /nonexistent", 1, "cannot open '/nonexistent': No such file or directory");
  check_refused("run --kernel /etc/passwd --disk /nonexistent", 1,
                "disk '/nonexistent' does not exist; create one with: doppel disk create '/nonexistent' 8G");
  check_refused("run --load /etc/passwd", 1, "'/etc/passwd' is not a saved machine");
  check_refused("run --kernel x --trace io,/nonexistent/t", 1,
                "cannot create the trace file '/nonexistent/t': No such file or directory");
}

TEST(Cli, Help) {
  std::string out, errors;
  EXPECT_EQ(run("--version", out, errors), 0);
  EXPECT_EQ(out, "doppel " DOPPEL_VERSION "\n");
  EXPECT_EQ(run("run --help", out, errors), 0);
  EXPECT_NE(out.find("Ctrl-]"), std::string::npos);
  EXPECT_EQ(errors, "");
}

TEST(Cli, MachineShow) {
  std::string out, errors;
  EXPECT_EQ(run("machine show --map --memory 5G --cpus 2", out, errors), 0) << errors;
  for (const char* line : {"00fec00000-00fec00fff  I/O APIC", "0100000000-017fffffff  memory above 4 GiB (RAM, 2 GiB)",
                           "03f8-03ff  COM1", "4         COM1 (I/O APIC input 4)"}) {
    EXPECT_NE(out.find(line), std::string::npos) << line << "\n" << out;
  }
}

TEST(Cli, Disks) {
  const DiskSpec disk = *parse_disk("a b.img,snapshot,format=raw,readonly");
  EXPECT_EQ(disk.path, "a b.img");
  EXPECT_TRUE(disk.snapshot && disk.read_only);
  EXPECT_EQ(disk.bus, DiskBus::virtio);
  EXPECT_EQ(parse_disk("a,bus=scsi")->bus, DiskBus::scsi);
  const DiskSpec cdrom = *parse_cdrom("a,b.iso");
  EXPECT_EQ(cdrom.path, "a,b.iso");
  EXPECT_TRUE(cdrom.cdrom && cdrom.read_only && cdrom.bus == DiskBus::scsi);
  EXPECT_FALSE(parse_cdrom(""));
  EXPECT_FALSE(parse_disk(",snapshot"));
  EXPECT_FALSE(parse_disk("a,"));
  EXPECT_EQ(parse_disk("a,serial=S-1")->serial, "S-1");
  EXPECT_FALSE(parse_disk("a,serial="));
  EXPECT_FALSE(parse_disk("a,serial=123456789012345678901"));
}

TEST(Cli, Shares) {
  const ShareSpec share = *parse_share("/a:b c:tag:ro");
  EXPECT_EQ(share.path, "/a:b c");
  EXPECT_EQ(share.tag, "tag");
  EXPECT_TRUE(share.read_only);
  for (const char* text : {"", "/a", ":tag", "/a:", "/a:b/c", ":ro"}) EXPECT_FALSE(parse_share(text)) << text;
}

}  // namespace
}  // namespace doppel::cli
