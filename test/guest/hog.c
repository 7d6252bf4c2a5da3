/*
 * The guest's side of a swap run: a program that needs more memory than the guest has, and checks
 * that every page is swapped in as it was written.
 *
 *   hog swapon DEVICE none|once|pages PRIORITY   swapon(2) with the discard mode (busybox has no flags)
 *   hog at NAME                                  a boundary: print the figures, wait for the host's line
 *   hog run MIB SEED                             fill, seq, rewrite, rand, half, kept: a boundary after each;
 *                                                rewrite and rand again if the host's line after rand is "r"
 *   hog watch MIB SEED                           run in a child, print how it ended, power off
 *   hog discard DEVICE                           BLKDISCARD of the entire device
 *
 * A page is a function of (seed, index, version), so it is checked by computing it again; only the
 * pages themselves are stored. 15 % are zero, 5 % one repeated word, 45 % text, 15 %
 * heap-like (pointers, small numbers, zeros), 20 % noise. Text, heap and noise pages begin with a
 * tag (index, version, seed), which distinguishes a wrong page from a damaged one.
 *
 * Boundary line:  @at NAME errors=N seconds=S pswpin=N pswpout=N used_kib=N
 * End of a child: @hog status=N, or @hog signal=N
 * Wrong page:     @wrong page=N version=N kind=K at=BYTE tag=INDEX/VERSION   (the first eight)
 *
 * Exit status 0, or 1 when a system call fails or a page was wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / 8)
#define RUN_PAGES 16u     /* pages are freed in runs of 64 KiB, as an allocator would */
#define HOST_WAIT_MS 60000 /* the guest does not wait forever for a host that has ended */
#define VERSION_MAX 255u  /* a page is computed from index << 8 | version */
#ifndef SWAP_FLAG_DISCARD_ONCE
#define SWAP_FLAG_DISCARD_ONCE 0x20000
#define SWAP_FLAG_DISCARD_PAGES 0x40000
#endif

struct tag {
	uint64_t index;
	uint32_t version;
	uint32_t seed;
};

enum kind { ZERO, SAME, TEXT, HEAP, NOISE };

static uint64_t pages, errors;
static uint32_t seed, last_version; /* last_version: how often a quarter of the pages was rewritten */
static uint8_t *memory;

static void die(const char *what)
{
	printf("@failed %s: %s\n", what, strerror(errno));
	exit(1);
}

/* splitmix64 (Steele, Lea, Flood 2014): the state is a counter, so any page starts anywhere. */
static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t next(uint64_t *state)
{
	return mix(*state += 0x9e3779b97f4a7c15u);
}

static enum kind kind_of(uint64_t hash)
{
	unsigned percent = (hash >> 32) % 100;

	if (percent < 15)
		return ZERO;
	if (percent < 20)
		return SAME;
	if (percent < 65)
		return TEXT;
	return percent < 80 ? HEAP : NOISE;
}

/* 256 random words of 2 to 9 letters, some much more frequent: LZ4 compresses such a page to half. */
static char vocabulary[256][12];
static uint8_t word_length[256];

static void make_vocabulary(void)
{
	uint64_t state = 2010;

	for (int w = 0; w < 256; w++) {
		uint64_t r = next(&state);
		int letters = 2 + (int)(r % 8);

		for (int i = 0; i < letters; i++) {
			r = next(&state);
			vocabulary[w][i] = (i & 1) ? "aeiou"[r % 5] : "bcdfghlmnprstvwz"[r % 16];
		}
		vocabulary[w][letters] = r % 16 == 0 ? '\n' : ' ';
		word_length[w] = (uint8_t)(letters + 1);
	}
}

static void text(uint8_t *page, uint64_t state)
{
	unsigned at = sizeof(struct tag);

	for (;;) {
		uint64_t r = next(&state);

		for (int i = 0; i < 4; i++, r >>= 16) {
			/* the smaller of two bytes: some words are frequent, as in prose */
			uint8_t a = r & 0xff, b = (r >> 8) & 0xff, w = a < b ? a : b;
			unsigned take = word_length[w];

			if (at + take > PAGE) {
				memset(page + at, '.', PAGE - at);
				return;
			}
			memcpy(page + at, vocabulary[w], take);
			at += take;
		}
	}
}

static void heap(uint64_t *words, uint64_t state)
{
	uint64_t base = 0x7f0000000000u | ((state & 0xffff) << 20);

	for (unsigned i = 2; i < WORDS; i += 4) {
		uint64_t r = next(&state);

		words[i] = base + (r & 0xffff0);
		words[i + 1] = r >> 58;
		if (i + 3 < WORDS) {
			words[i + 2] = (r & 1) ? base + ((r >> 24) & 0xffff0) : 0;
			words[i + 3] = (r >> 20) & 0xff;
		}
	}
}

static void make_page(uint8_t *page, uint64_t index, uint32_t version)
{
	uint64_t hash = mix((index << 8 | version) + ((uint64_t)seed << 40));
	uint64_t *words = (uint64_t *)page, state = hash;
	struct tag tag = { index, version, seed };
	enum kind kind = kind_of(hash);

	if (kind == ZERO || kind == SAME) {
		for (unsigned i = 0; i < WORDS; i++)
			words[i] = kind == ZERO ? 0 : hash;
		return;
	}
	memcpy(page, &tag, sizeof tag);
	if (kind == TEXT)
		text(page, state);
	else if (kind == HEAP)
		heap(words, state);
	else
		for (unsigned i = 2; i < WORDS; i++)
			words[i] = next(&state);
}

/* A quarter of the pages, spread evenly, is written again: another quarter for each version. */
static int is_rewritten(uint64_t index, uint32_t version)
{
	return (mix((index ^ 0x5eed) + ((uint64_t)(version - 1) << 40)) & 3) == 0;
}

/* The version that a page has now. */
static uint32_t version_of(uint64_t index)
{
	uint32_t version = last_version;

	while (version > 0 && !is_rewritten(index, version))
		version--;
	return version;
}

/* Half of the runs are freed. */
static int is_freed(uint64_t index)
{
	return mix(index / RUN_PAGES + 77) & 1;
}

static void check(uint64_t index, uint32_t version)
{
	static uint64_t want[WORDS];
	const uint8_t *expected = (const uint8_t *)want, *got = memory + index * PAGE;
	const struct tag *tag = (const struct tag *)got;
	unsigned at = 0;

	make_page((uint8_t *)want, index, version);
	if (memcmp(want, got, PAGE) == 0)
		return;
	while (expected[at] == got[at])
		at++;
	if (errors++ < 8)
		printf("@wrong page=%llu version=%u kind=%d at=%u tag=%llu/%u\n",
		       (unsigned long long)index, version,
		       kind_of(mix((index << 8 | version) + ((uint64_t)seed << 40))), at,
		       (unsigned long long)tag->index, tag->version);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The number after `name ` in /proc/vmstat. */
static unsigned long long vmstat(const char *name)
{
	char line[128], key[64];
	unsigned long long value, found = 0;
	FILE *f = fopen("/proc/vmstat", "r");

	if (!f)
		die("/proc/vmstat");
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "%63s %llu", key, &value) == 2 && strcmp(key, name) == 0)
			found = value;
	fclose(f);
	return found;
}

static unsigned long long swap_used_kib(void)
{
	char line[256];
	unsigned long long used, sum = 0;
	FILE *f = fopen("/proc/swaps", "r");

	if (!f)
		die("/proc/swaps");
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "%*s %*s %*u %llu", &used) == 1)
			sum += used;
	fclose(f);
	return sum;
}

/* Whether the host asks to repeat what led to this boundary. */
static int at(const char *name, double seconds)
{
	struct pollfd host = { .fd = 0, .events = POLLIN };
	int repeat = 0;
	char byte;

	printf("@at %s errors=%llu seconds=%.2f pswpin=%llu pswpout=%llu used_kib=%llu\n", name,
	       (unsigned long long)errors, seconds, vmstat("pswpin"), vmstat("pswpout"),
	       swap_used_kib());
	while (poll(&host, 1, HOST_WAIT_MS) > 0 && read(0, &byte, 1) == 1 && byte != '\n')
		repeat = byte == 'r';
	return repeat;
}

/* Writes a quarter of the pages again, then reads all of them in a random order. */
static int rewrite_and_read(uint32_t *order)
{
	double start = now();

	if (++last_version > VERSION_MAX) {
		printf("@failed the host asked for more than %u versions\n", VERSION_MAX);
		exit(1);
	}
	for (uint64_t i = 0; i < pages; i++)
		if (is_rewritten(i, last_version))
			make_page(memory + i * PAGE, i, last_version);
	at("rewrite", now() - start);

	for (uint64_t i = 0, state = seed + last_version - 1; i < pages; i++) { /* Fisher-Yates, inside out */
		uint64_t j = next(&state) % (i + 1);

		order[i] = order[j];
		order[j] = (uint32_t)i;
	}
	start = now();
	for (uint64_t i = 0; i < pages; i++)
		check(order[i], version_of(order[i]));
	return at("rand", now() - start);
}

static int run(uint64_t mib)
{
	uint32_t *order;
	double start;

	pages = mib * 256;
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	order = malloc(pages * sizeof *order);
	if (memory == MAP_FAILED || !order)
		die("memory");
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);

	start = now();
	for (uint64_t i = 0; i < pages; i++)
		make_page(memory + i * PAGE, i, 0);
	at("fill", now() - start);

	start = now();
	for (uint64_t i = 0; i < pages; i++)
		check(i, 0);
	at("seq", now() - start);

	while (rewrite_and_read(order))
		;

	start = now();
	for (uint64_t i = 0; i < pages; i += RUN_PAGES)
		if (is_freed(i) && madvise(memory + i * PAGE, RUN_PAGES * PAGE, MADV_DONTNEED))
			die("madvise");
	at("half", now() - start);

	start = now();
	for (uint64_t i = 0; i < pages; i++)
		if (!is_freed(i))
			check(i, version_of(i));
	at("kept", now() - start);
	return errors ? 1 : 0;
}

/*
 * For a run in which the swap disk fails: this process is locked in memory, so it can still report
 * how its child ended, and it powers off the guest itself, because the shell may be swapped out.
 */
static int watch(uint64_t mib)
{
	int status;
	pid_t child;

	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		die("mlockall");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		munlockall();
		exit(run(mib));
	}
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	if (WIFSIGNALED(status))
		printf("@hog signal=%d\n", WTERMSIG(status));
	else
		printf("@hog status=%d\n", WEXITSTATUS(status));
	tcdrain(1);
	reboot(RB_POWER_OFF);
	return 1;
}

static int turn_on(const char *device, const char *mode, int priority)
{
	int flags = SWAP_FLAG_PREFER | (priority & SWAP_FLAG_PRIO_MASK);

	if (strcmp(mode, "once") == 0)
		flags |= SWAP_FLAG_DISCARD | SWAP_FLAG_DISCARD_ONCE;
	else if (strcmp(mode, "pages") == 0)
		flags |= SWAP_FLAG_DISCARD | SWAP_FLAG_DISCARD_PAGES;
	if (swapon(device, flags))
		die("swapon");
	return 0;
}

static int discard(const char *device)
{
	uint64_t range[2] = { 0, 0 };
	int fd = open(device, O_RDWR);

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &range[1]) || ioctl(fd, BLKDISCARD, range))
		die("BLKDISCARD");
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(verb, "swapon") == 0 && argc == 5)
		return turn_on(argv[2], argv[3], atoi(argv[4]));
	if (strcmp(verb, "at") == 0) {
		at(argv[2], 0);
		return 0;
	}
	if ((strcmp(verb, "run") == 0 || strcmp(verb, "watch") == 0) && argc == 4) {
		uint64_t mib = strtoull(argv[2], NULL, 10);

		seed = (uint32_t)strtoul(argv[3], NULL, 10);
		make_vocabulary();
		return strcmp(verb, "run") == 0 ? run(mib) : watch(mib);
	}
	if (strcmp(verb, "discard") == 0)
		return discard(argv[2]);
	fprintf(stderr, "hog: swapon DEVICE MODE PRIORITY | at NAME | run|watch MIB SEED | discard DEVICE\n");
	return 2;
}
