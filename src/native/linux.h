/*
 * System calls without a C library, for x86-64 and arm64, and the constants that faults.c uses. The compiler is told
 * not to assume a C library; the functions that it may call anyway (memcpy, memset) are at the end of this file.
 *
 * Sources: Linux arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h, linux/userfaultfd.h, asm/signal.h.
 */
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#define SYS_read 0
#define SYS_write 1
#define SYS_close 3
#define SYS_mmap 9
#define SYS_rt_sigaction 13
#define SYS_rt_sigprocmask 14
#define SYS_ioctl 16
#define SYS_pread64 17
#define SYS_pwrite64 18
#define SYS_sched_yield 24
#define SYS_madvise 28
#define SYS_nanosleep 35
#define SYS_getpid 39
#define SYS_ftruncate 77
#define SYS_gettid 186
#define SYS_futex 202
#define SYS_sched_setaffinity 203
#define SYS_sched_getaffinity 204
#define SYS_tgkill 234
#define SYS_openat 257
#define SYS_ppoll 271
#define SYS_fallocate 285
#define SYS_process_vm_readv 310
#define SYS_clock_gettime 228
#define SYS_getcpu 309
#else
#define SYS_ioctl 29
#define SYS_ftruncate 46
#define SYS_fallocate 47
#define SYS_openat 56
#define SYS_close 57
#define SYS_read 63
#define SYS_write 64
#define SYS_pread64 67
#define SYS_pwrite64 68
#define SYS_ppoll 73
#define SYS_futex 98
#define SYS_nanosleep 101
#define SYS_clock_gettime 113
#define SYS_sched_setaffinity 122
#define SYS_sched_getaffinity 123
#define SYS_sched_yield 124
#define SYS_tgkill 131
#define SYS_rt_sigaction 134
#define SYS_rt_sigprocmask 135
#define SYS_getcpu 168
#define SYS_getpid 172
#define SYS_gettid 178
#define SYS_mmap 222
#define SYS_madvise 233
#define SYS_process_vm_readv 270
#endif
#define SYS_process_madvise 440

#define EAGAIN 11
#define ENOMEM 12
#define EFAULT 14
#define EEXIST 17
#define ENOENT 2
#define ESRCH 3
#define EINTR 4

#define PROT_READ_WRITE 3
#define MAP_SHARED 0x01
#define MAP_FIXED 0x10
#define MAP_POPULATE 0x8000
#define PUNCH_HOLE_KEEP_SIZE 3
#define MADV_DONTNEED 4
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129
#define POLLIN 1
#define SIG_SETMASK 2
#define SIGBUS 7
#define SIGKILL 9
#define SIGSTOP 19
#define BUS_ADRERR 2
#define SA_SIGINFO 4u
#define SA_ONSTACK 0x08000000u
#define SA_RESTORER 0x04000000u
#define SA_NODEFER 0x40000000u
#define SIG_DFL 0
#define SIG_IGN 1
#define CLOCK_MONOTONIC 1
#define O_RDONLY_CLOEXEC 02000000
#define AT_FDCWD -100

#define UFFD_EVENT_PAGEFAULT 0x12
#define UFFD_FLAG_WRITE 1
#define UFFD_FLAG_WP 2
#define UFFDIO_WAKE 0x8010aa02u
#define UFFDIO_COPY 0xc028aa03u
#define UFFDIO_ZEROPAGE 0xc020aa04u
#define UFFDIO_WRITEPROTECT 0xc018aa06u
#define UFFDIO_POISON 0xc020aa08u
#define COPY_MODE_WP 2
#define WRITEPROTECT_MODE_WP 1

#define PAGE 4096

struct timespec64 {
  int64_t sec;
  int64_t nsec;
};
struct pollfd {
  int fd;
  short events;
  short revents;
};
struct iovec {
  uint64_t base;
  uint64_t len;
};
struct uffd_msg {
  uint8_t event;
  uint8_t reserved[7];
  uint64_t flags;
  uint64_t address;
  uint32_t tid;
  uint32_t spare;
};
struct uffd_range {
  uint64_t start;
  uint64_t len;
};
struct uffd_copy {
  uint64_t dst;
  uint64_t src;
  uint64_t len;
  uint64_t mode;
  int64_t copy;
};
struct uffd_zeropage {
  struct uffd_range range;
  uint64_t mode;
  int64_t zeropage;
};
struct uffd_writeprotect {
  struct uffd_range range;
  uint64_t mode;
};
/* The argument of rt_sigaction(2), which differs from that of sigaction(3). */
struct kernel_sigaction {
  uint64_t handler;
  uint64_t flags;
#if defined(__x86_64__)
  uint64_t restorer;
#endif
  uint64_t mask;
};

static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long r;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(r)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return r;
#else
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory", "cc");
  return x0;
#endif
}

#define sys(n, a, b, c) sys6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)

static inline void pause_cpu(void) {
#if defined(__x86_64__)
  __asm__ volatile("pause");
#else
  __asm__ volatile("yield");
#endif
}

static inline int64_t now_ns(void) {
  struct timespec64 t;
  sys(SYS_clock_gettime, CLOCK_MONOTONIC, &t, 0);
  return t.sec * 1000000000 + t.nsec;
}

static inline void sleep_us(int64_t us) {
  struct timespec64 t = {0, us * 1000};
  sys(SYS_nanosleep, &t, 0, 0);
}

/* Copies `n` bytes, a multiple of 16, 16 at a time. */
static inline void copy16(uint8_t *to, const uint8_t *from, size_t n) {
  for (size_t i = 0; i < n; i += 16) __builtin_memcpy(to + i, from + i, 16);
}

__attribute__((visibility("hidden"))) void *memcpy(void *to, const void *from, size_t n) {
  uint8_t *t = to;
  const uint8_t *f = from;
  for (; n >= 16; n -= 16, t += 16, f += 16) __builtin_memcpy(t, f, 16);
  for (; n > 0; n--) *t++ = *f++;
  return to;
}

__attribute__((visibility("hidden"))) void *memset(void *to, int byte, size_t n) {
  uint8_t *t = to;
  for (; n > 0; n--) *t++ = (uint8_t)byte;
  return to;
}
