// What BusyBox has not, for tests of networks, in a guest.
//   wire echo PORT          answers each UDP datagram with itself
//   wire send ADDRESS PORT FILE COUNT
//                           sends a file that often over one TCP connection, and waits until all is taken
//   wire take ADDRESS PORT  says that it is ready, and takes all that comes
//   wire flood DEVICE COUNT sends frames that are malformed in every way, of random lengths
#include <arpa/inet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int echo(int port) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (bind(fd, (struct sockaddr*)&at, sizeof at) != 0) return 1;
  for (;;) {
    char data[2048];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr*)&from, &size);
    if (got >= 0) sendto(fd, data, got, 0, (struct sockaddr*)&from, size);
  }
}

static int flood(const char* device, long count) {
  static const unsigned short types[] = {0x0800, 0x0806, 0x86dd, 0x8100, 0x1234};
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(device), .sll_halen = 6};
  unsigned char frame[1514];
  unsigned seed = 1;
  for (long i = 0; i < count; ++i) {
    int bytes = 14 + rand_r(&seed) % 200;
    for (int at = 0; at < bytes; ++at) frame[at] = rand_r(&seed) >> 7;
    memcpy(frame, "\x52\x55\x0a\x00\x02\x02", 6);
    unsigned short type = htons(types[i % 5]);
    memcpy(frame + 12, &type, 2);
    if (i % 5 == 0) {  // nearly right: IPv4 for the gateway or for a loopback address, of wrong lengths
      memcpy(frame + 14, "\x45\x00", 2);
      frame[20] &= 0x3f;
      frame[23] = i % 3 == 0 ? 6 : i % 3 == 1 ? 17 : 1;
      memcpy(frame + 26, "\x0a\x00\x02\x0f", 4);
      memcpy(frame + 30, "\x0a\x00\x02\x02", 4);
    }
    sendto(fd, frame, bytes, 0, (struct sockaddr*)&to, sizeof to);
  }
  return 0;
}

static int send_file(const char* address, int port, const char* path, long count) {
  static char data[16 << 20];
  FILE* file = fopen(path, "r");
  size_t bytes = file ? fread(data, 1, sizeof data, file) : 0;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(address)};
  if (bytes == 0 || connect(fd, (struct sockaddr*)&to, sizeof to) != 0) return 1;
  for (; count > 0; --count) {
    for (size_t at = 0; at < bytes;) {
      ssize_t sent = send(fd, data + at, bytes - at < 262144 ? bytes - at : 262144, 0);
      if (sent <= 0) return 1;
      at += sent;
    }
  }
  shutdown(fd, SHUT_WR);
  return recv(fd, data, 1, 0) == 0 ? 0 : 1;
}

static int take(const char* address, int port) {
  static char data[1 << 20];
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(address)};
  if (connect(fd, (struct sockaddr*)&from, sizeof from) != 0 || send(fd, "", 1, 0) != 1) return 1;
  ssize_t got;
  while ((got = recv(fd, data, sizeof data, 0)) > 0) {
  }
  return got == 0 ? 0 : 1;
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "echo") == 0) return echo(atoi(argv[2]));
  if (argc == 4 && strcmp(argv[1], "take") == 0) return take(argv[2], atoi(argv[3]));
  if (argc == 6 && strcmp(argv[1], "send") == 0) return send_file(argv[2], atoi(argv[3]), argv[4], atol(argv[5]));
  if (argc == 4 && strcmp(argv[1], "flood") == 0) return flood(argv[2], atol(argv[3]));
  return 2;
}
