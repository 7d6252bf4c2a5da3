// Measures the kernel's zram: 4 KiB O_DIRECT requests, one at a time, processor time.
//
//   zram DEVICE CORPUS CLASSES COPIES
//
// CLASSES: a file with one byte per page, '0'.. = the class of the page. The device has COPIES copies of the corpus.
// Commands are lines on standard input; each prints one line of JSON, ns per page by class:
//   w   write every page      r   read every page      q   end
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define CLASSES_MAX 16

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static void *load(const char *path, size_t *size) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) { perror(path); exit(1); }
  *size = (size_t)lseek(fd, 0, SEEK_END);
  void *p = aligned_alloc(PAGE, (*size + PAGE - 1) / PAGE * PAGE);
  if (pread(fd, p, *size, 0) != (ssize_t)*size) { perror(path); exit(1); }
  close(fd);
  return p;
}

int main(int argc, char **argv) {
  if (argc != 5) { fprintf(stderr, "usage: zram DEVICE CORPUS CLASSES COPIES\n"); return 2; }
  size_t bytes, count;
  char *pages = load(argv[2], &bytes), *classes = load(argv[3], &count);
  int copies = atoi(argv[4]), fd = open(argv[1], O_RDWR | O_DIRECT);
  if (fd < 0) { perror(argv[1]); return 1; }
  char *into = aligned_alloc(PAGE, PAGE), line[16];
  while (fgets(line, sizeof line, stdin) && line[0] != 'q') {
    printf("[");
    for (int c = 0; c < CLASSES_MAX; c++) {
      size_t n = 0;
      double start = now();
      for (int copy = 0; copy < copies; copy++)
        for (size_t i = 0; i < count; i++) {
          if (classes[i] != '0' + c) continue;
          off_t at = (off_t)(copy * count + i) * PAGE;
          ssize_t done = line[0] == 'w' ? pwrite(fd, pages + i * PAGE, PAGE, at) : pread(fd, into, PAGE, at);
          if (done != PAGE) { perror("zram"); return 1; }
          if (line[0] == 'r' && memcmp(into, pages + i * PAGE, 16)) { fprintf(stderr, "wrong page\n"); return 1; }
          n++;
        }
      printf("%s%.1f", c ? "," : "", n ? (now() - start) / n : 0.0);
    }
    printf("]\n");
    fflush(stdout);
  }
  return 0;
}
