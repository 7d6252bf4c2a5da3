// The kernel pages a region that is larger than the memory it may use: anonymous memory, which is swapped, or a mapped file.
// The patterns are those of bench/touches.ts, touch for touch; that file specifies them.
//
//   pager anon|FILE CORPUS TOTAL BUDGET SEED TOUCHES PATTERN...
//
// FILE is created with its blocks allocated. BUDGET is the caller's limit on the program; here it only sets how many pages
// "evict" works on. The program allocates and touches its own memory, prints {"ready":true} and waits for a line; the caller
// sets the limit before that line, so that only the region and its page tables are charged to it. Then it prints a line
// of JSON per pattern, times in ns.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define EVICT_PASSES 4
#define QUANTILES 200
#define HASH_START 0x811c9dc5u
#define HASH_TIMES 0x01000193u

static char *region, *corpus;
static uint8_t *writes;  // how often each page was written since it was filled, modulo 256
static uint32_t *took;   // ns of each touch of a phase
static unsigned char *seen;  // for mincore
static size_t pages, budget, corpus_pages, touches;
static uint32_t seed;
static int in_file;

static void fail(const char *what) { perror(what); exit(1); }

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// splitmix32 of a counter: touch `i` does not depend on those before it.
static size_t random_page(uint32_t from, uint32_t i) {
  uint32_t z = from + (i + 1) * 0x9e3779b9u;
  z = (z ^ z >> 16) * 0x21f0aaadu;
  z = (z ^ z >> 15) * 0x735a2d97u;
  return (uint64_t)(z ^ z >> 15) * pages >> 32;
}

static uint32_t tag(size_t page) { return (uint32_t)(page + 1) * 0x9e3779b1u ^ writes[page]; }
static volatile uint32_t *word(size_t page) { return (volatile uint32_t *)(region + page * PAGE); }

struct phase { uint64_t wall, cpu; struct rusage usage; };

static void start(struct phase *at) {
  getrusage(RUSAGE_SELF, &at->usage);
  at->cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  at->wall = clock_ns(CLOCK_MONOTONIC);
}

// Adds the usage since `from` to `sum`.
static void stop(struct phase *sum, const struct phase *from) {
  struct phase now;
  now.wall = clock_ns(CLOCK_MONOTONIC);
  now.cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  getrusage(RUSAGE_SELF, &now.usage);
  sum->wall += now.wall - from->wall;
  sum->cpu += now.cpu - from->cpu;
  sum->usage.ru_majflt += now.usage.ru_majflt - from->usage.ru_majflt;
  sum->usage.ru_minflt += now.usage.ru_minflt - from->usage.ru_minflt;
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static void report(const char *name, const struct phase *sum, size_t count, uint32_t hash, size_t timed) {
  printf("{\"phase\":\"%s\",\"pages\":%zu,\"wallNs\":%llu,\"cpuNs\":%llu,\"majorFaults\":%ld,\"minorFaults\":%ld,"
         "\"hash\":%u", name, count, (unsigned long long)sum->wall, (unsigned long long)sum->cpu,
         sum->usage.ru_majflt, sum->usage.ru_minflt, hash);
  if (timed > 0) {
    qsort(took, timed, sizeof *took, by_size);
    printf(",\"p50Ns\":%u,\"p99Ns\":%u,\"quantilesNs\":[", took[timed / 2], took[timed * 99 / 100]);
    for (size_t i = 0; i <= QUANTILES; i++) printf("%s%u", i > 0 ? "," : "", took[(timed - 1) * i / QUANTILES]);
    printf("]");
  }
  printf("}\n");
  fflush(stdout);
}

static void check(size_t page) {
  if (*word(page) == tag(page)) return;
  fprintf(stderr, "pager: page %zu does not contain what was written\n", page);
  exit(1);
}

static void fill(size_t page) {
  memcpy(region + page * PAGE, corpus + page % corpus_pages * PAGE, PAGE);
  writes[page] = 0;
  *word(page) = tag(page);
}

static void dirty(size_t page) {
  writes[page]++;
  *word(page) = tag(page);
}

static void each(const char *name, size_t count, int is_random, uint32_t from, void (*touch)(size_t)) {
  struct phase before, sum = {0};
  uint32_t hash = HASH_START;
  // Without MADV_RANDOM the kernel reads 32 pages around each fault on a file, which takes milliseconds.
  if (in_file && madvise(region, pages * PAGE, is_random ? MADV_RANDOM : MADV_NORMAL)) fail("madvise");
  start(&before);
  uint64_t last = before.wall;
  for (size_t i = 0; i < count; i++) {
    size_t page = is_random ? random_page(from, (uint32_t)i) : i;
    touch(page);
    hash = (hash ^ (uint32_t)page) * HASH_TIMES;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    took[i] = now - last > UINT32_MAX ? UINT32_MAX : (uint32_t)(now - last);
    last = now;
  }
  stop(&sum, &before);
  report(name, &sum, count, hash, count);
}

// Resident pages among `count` from `first` on; for anonymous memory pages in the swap cache count.
static size_t resident(size_t first, size_t count) {
  size_t n = 0;
  if (mincore(region + first * PAGE, count * PAGE, seen)) fail("mincore");
  for (size_t i = 0; i < count; i++) n += seen[i] & 1;
  return n;
}

static void push_out(char *range, size_t bytes) {
  if (in_file && msync(range, bytes, MS_SYNC)) fail("msync");
  if (madvise(range, bytes, MADV_PAGEOUT)) fail("MADV_PAGEOUT");
}

// Writes a quarter of the budget, which makes it resident and dirty, and pages it out in one call: the kernel's cheapest
// eviction, without a scan for cold pages. Pages of a file are written back first, because MADV_PAGEOUT skips dirty ones.
// Then reads them back to compare, and pages them out again, so that the next pass needs no reclaim. It must be the last
// pattern of a run: if only pages that were read back are resident, all of them count as active, and a group at its limit
// is OOM-killed because it has no inactive pages.
static void evict(void) {
  size_t count = budget / PAGE / 4, out = 0;
  struct phase before, sum = {0};
  uint32_t hash = HASH_START;
  for (int pass = 0; pass < EVICT_PASSES; pass++) {
    size_t first = (size_t)pass * count;
    char *range = region + first * PAGE;
    for (size_t page = first; page < first + count; page++) {
      dirty(page);
      hash = (hash ^ (uint32_t)page) * HASH_TIMES;
    }
    size_t in = resident(first, count);
    start(&before);
    push_out(range, count * PAGE);
    stop(&sum, &before);
    out += in - resident(first, count);
    for (size_t page = first; page < first + count; page++) check(page);
    push_out(range, count * PAGE);
  }
  report("evict", &sum, out, hash, 0);
}

static void *own(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (p == MAP_FAILED) fail("mmap");
  return p;
}

static void load(const char *path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) fail(path);
  off_t size = lseek(fd, 0, SEEK_END);
  corpus_pages = (size_t)size / PAGE;
  corpus = own((size_t)size);
  for (off_t at = 0; at < size;) {
    ssize_t n = pread(fd, corpus + at, (size_t)(size - at), at);
    if (n <= 0) fail(path);
    at += n;
  }
  close(fd);
}

static void map(const char *where) {
  int fd = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  in_file = strcmp(where, "anon") != 0;
  if (in_file) {
    flags = MAP_SHARED;
    if ((fd = open(where, O_RDWR | O_CREAT, 0600)) < 0) fail(where);
    if ((errno = posix_fallocate(fd, 0, (off_t)(pages * PAGE)))) fail(where);
  }
  region = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (region == MAP_FAILED) fail("mmap");
  madvise(region, pages * PAGE, MADV_NOHUGEPAGE);  // fails on kernels without huge pages, where it is not needed
}

static int run(const char *name) {
  if (!strcmp(name, "fill-seq")) each(name, pages, 0, 0, fill);
  else if (!strcmp(name, "seq-read")) each(name, pages, 0, 0, check);
  else if (!strcmp(name, "seq-write")) each(name, pages, 0, 0, dirty);
  else if (!strcmp(name, "rand-read")) each(name, touches, 1, seed, check);
  else if (!strcmp(name, "rand-write")) each(name, touches, 1, seed + 1, dirty);
  else if (!strcmp(name, "evict")) evict();
  else if (!strcmp(name, "check")) each(name, pages, 0, 0, check);
  else return 0;
  return 1;
}

int main(int argc, char **argv) {
  char line[16];
  if (argc < 8) {
    fprintf(stderr, "usage: pager anon|FILE CORPUS TOTAL BUDGET SEED TOUCHES PATTERN...\n");
    return 2;
  }
  pages = strtoull(argv[3], NULL, 10) / PAGE;
  budget = strtoull(argv[4], NULL, 10);
  seed = (uint32_t)strtoul(argv[5], NULL, 10);
  touches = strtoull(argv[6], NULL, 10);
  load(argv[2]);
  if (corpus_pages == 0 || budget / PAGE > pages) {
    fprintf(stderr, "pager: CORPUS needs at least one page, and BUDGET must fit the region\n");
    return 2;
  }
  size_t most = touches > pages ? touches : pages;
  writes = own(pages);
  seen = own(pages);
  took = own(most * sizeof *took);
  printf("{\"ready\":true}\n");
  fflush(stdout);
  if (!fgets(line, sizeof line, stdin)) return 1;
  map(argv[1]);
  for (int i = 7; i < argc; i++)
    if (!run(argv[i])) {
      fprintf(stderr, "pager: no pattern '%s'\n", argv[i]);
      return 2;
    }
  return 0;
}
