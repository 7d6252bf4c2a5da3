/*
 * liblz4 called from C: the reference of bench/codec.ts.
 *
 *   cc -O3 -o lz4 lz4.c -llz4
 *   lz4 PAGES CLASSES PASSES     one line on stdout for every line on stdin
 *
 * PAGES has 4096-byte pages, CLASSES one byte per page (0 .. 63). A line on stdin runs a round: every class is compressed
 * PASSES times and decompressed PASSES times. The output is one JSON object, arrays by class:
 *   compress, decompress   CPU ns per page (decompress: pages that are stored compressed; 0 if there are none)
 *   bytes              bytes stored: a page above LIMIT counts 4096, because it would be stored raw
 * It measures CPU time of the process, which other processes disturb less than wall time.
 */
#include <lz4.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 4096, LIMIT = 3072, CLASSES = 64 };

static uint64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char *read_file(const char *path, size_t *length)
{
	FILE *f = fopen(path, "rb");
	if (!f) {
		perror(path);
		exit(2);
	}
	fseek(f, 0, SEEK_END);
	*length = (size_t)ftell(f);
	rewind(f);
	char *bytes = malloc(*length + 1);
	if (!bytes || fread(bytes, 1, *length, f) != *length) {
		perror(path);
		exit(2);
	}
	fclose(f);
	return bytes;
}

static void print(const char *name, const double *v, size_t n)
{
	printf("\"%s\":[", name);
	for (size_t c = 0; c < n; c++)
		printf(c ? ",%.1f" : "%.1f", v[c]);
	printf("]");
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: lz4 PAGES CLASSES PASSES\n");
		return 2;
	}
	size_t bytes, pages;
	char *page = read_file(argv[1], &bytes), *class = read_file(argv[2], &pages);
	size_t passes = (size_t)atoi(argv[3]), used = 0;
	if (bytes != pages * PAGE || !passes) {
		fprintf(stderr, "lz4: %zu bytes are not %zu pages\n", bytes, pages);
		return 2;
	}
	for (size_t i = 0; i < pages; i++)
		if ((size_t)class[i] % CLASSES >= used)
			used = (size_t)class[i] % CLASSES + 1;
	char *block = malloc(pages * PAGE + 64), *back = malloc(PAGE + 64);
	int *length = calloc(pages, sizeof *length);
	char line[64];
	while (fgets(line, sizeof line, stdin)) {
		double compress[CLASSES] = {0}, decompress[CLASSES] = {0}, kept[CLASSES] = {0};
		for (size_t c = 0; c < used; c++) {
			size_t all = 0, compressed = 0;
			uint64_t t = cpu_ns();
			for (size_t pass = 0; pass < passes; pass++)
				for (size_t i = 0; i < pages; i++) {
					if ((size_t)class[i] != c)
						continue;
					length[i] = LZ4_compress_default(page + i * PAGE, block + i * PAGE, PAGE, LIMIT);
					all++;
				}
			compress[c] = all ? (double)(cpu_ns() - t) / (double)all : 0;
			t = cpu_ns();
			for (size_t pass = 0; pass < passes; pass++)
				for (size_t i = 0; i < pages; i++) {
					if ((size_t)class[i] != c || !length[i])
						continue;
					compressed++;
					if (LZ4_decompress_safe(block + i * PAGE, back, length[i], PAGE) != PAGE)
						abort();
				}
			decompress[c] = compressed ? (double)(cpu_ns() - t) / (double)compressed : 0;
			for (size_t i = 0; i < pages; i++)
				if ((size_t)class[i] == c)
					kept[c] += length[i] ? length[i] : PAGE;
		}
		printf("{");
		print("compress", compress, used);
		printf(",");
		print("decompress", decompress, used);
		printf(",");
		print("bytes", kept, used);
		printf("}\n");
		fflush(stdout);
	}
	return 0;
}
