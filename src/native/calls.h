/*
 * The system calls of faults.c that may fail, and the time for which threads wait. Part of faults.c.
 *
 * - The kernel may return EAGAIN from each ioctl while the address space changes: the call is repeated.
 * - A call that wakes a thread or the engine is repeated after any error; otherwise they would wait forever.
 * - Tests make calls fail with words of the control block (failEvery, failErrno); the engine leaves them 0.
 */

#define EAGAIN_TRIES 100000
#define WAKE_TRIES 1000

static long failure(control *c, uint32_t call) {
  uint32_t every = __atomic_load_n(&c->failEvery[call], __ATOMIC_RELAXED);
  if (__builtin_expect(every == 0, 1)) return 0;
  return count(&c->failCalls[call], 1) % every == 0 ? -(long)c->failErrno[call] : 0;
}

/* A system call that tests can make fail. */
#define sys_or_fail(c, call, ...) \
  ({ \
    long failed_ = failure(c, call); \
    failed_ != 0 ? failed_ : sys6(__VA_ARGS__); \
  })

static long uffd_ioctl(control *c, uint32_t call, long request, void *argument) {
  return sys_or_fail(c, call, SYS_ioctl, c->uffd, request, (long)argument, 0, 0, 0);
}

/* Waits for other native code that holds a page: at most a few system calls, one of which may read a disk. */
static void wait_turn(int tries) {
  if (tries < 100) pause_cpu();
  else if (tries < 1000) sys(SYS_sched_yield, 0, 0, 0);
  else sleep_us(50);
}

/* ---- time ---- */

/* CLOCK_MONOTONIC, ns: from clock_gettime(3), which makes no system call, if the engine has found it. */
static int64_t now_of(control *c) {
  struct timespec64 t;
  uint64_t clock = __atomic_load_n(&c->clock, __ATOMIC_RELAXED); /* read once: the block may be cleared in between */
  if (clock == 0) return now_ns();
  ((int (*)(int, struct timespec64 *))clock)(CLOCK_MONOTONIC, &t);
  return t.sec * 1000000000 + t.nsec;
}

/*
 * Time during which at least one thread waits for a page. The low 16 bits of `waiting` are the number of threads; the
 * bits above are the time at which the first of them began to wait, ns modulo 2^48. So both change in one atomic step.
 */
#define WAITING_BITS 16
#define WAITING_TIME ((1ull << 48) - 1)

static void wait_begins(control *c) {
  if (!c->isTimed) return;
  uint64_t start = ((uint64_t)now_of(c) & WAITING_TIME) << WAITING_BITS;
  uint64_t old = load(&c->waiting);
  uint64_t next;
  do next = (old & 0xffff) == 0 ? start | 1 : old + 1;
  while (!__atomic_compare_exchange_n(&c->waiting, &old, next, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

static void wait_ends(control *c) {
  if (!c->isTimed) return;
  uint64_t now = (uint64_t)now_of(c);
  uint64_t old = load(&c->waiting);
  uint64_t next;
  do {
    if ((old & 0xffff) == 0) return;
    next = (old & 0xffff) == 1 ? 0 : old - 1;
  } while (!__atomic_compare_exchange_n(&c->waiting, &old, next, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
  if (next == 0) count(&c->waitedNs, (now - (old >> WAITING_BITS)) & WAITING_TIME);
}

/* The engine has to read a page. In thread mode, the faulting thread keeps waiting; a signal handler counts itself. */
static void ask_begins(control *c) {
  if (load(&c->threadTid) != 0) wait_begins(c);
}

static void ask_ends(control *c) {
  if (load(&c->threadTid) != 0) wait_ends(c);
}

/* ---- the engine's eventfd ---- */

static void ring(control *c) {
  uint64_t one = 1;
  if (__atomic_exchange_n(&c->isRung, 1, __ATOMIC_SEQ_CST) != 0) return;
  for (int tries = 0; tries < WAKE_TRIES; tries++)
    if (sys_or_fail(c, FS_CALL_RING, SYS_write, c->engineFd, (long)&one, 8, 0, 0, 0) == 8) return;
  store(&c->isRung, 0);
}

/* ---- ioctls: bytes done; *error is the errno that ended it ---- */

static int64_t copy_in(control *c, uint64_t to, uint64_t from, uint64_t bytes, uint64_t mode,
                       int *error) {
  uint64_t done = 0;
  *error = 0;
  for (int tries = 0; done < bytes; tries++) {
    struct uffd_copy u = {to + done, from + done, bytes - done, mode, 0};
    long r = uffd_ioctl(c, FS_CALL_COPY, UFFDIO_COPY, &u);
    if (u.copy > 0) done += u.copy;
    if (r == 0) continue;
    *error = (int)-r;
    if (r != -EAGAIN || tries > EAGAIN_TRIES) break;
    if (u.copy <= 0) sys(SYS_sched_yield, 0, 0, 0); /* the address space is changing */
    *error = 0;
  }
  return (int64_t)done;
}

static int64_t zeros_in(control *c, uint64_t to, uint64_t bytes, int are_written, int *error) {
  if (are_written) return copy_in(c, to, c->zeros, bytes, 0, error);
  uint64_t done = 0;
  *error = 0;
  for (int tries = 0; done < bytes; tries++) {
    struct uffd_zeropage u = {{to + done, bytes - done}, 0, 0};
    long r = uffd_ioctl(c, FS_CALL_ZEROPAGE, UFFDIO_ZEROPAGE, &u);
    if (u.zeropage > 0) done += u.zeropage;
    if (r == 0) continue;
    *error = (int)-r;
    if (r != -EAGAIN || tries > EAGAIN_TRIES) break;
    if (u.zeropage <= 0) sys(SYS_sched_yield, 0, 0, 0);
    *error = 0;
  }
  return (int64_t)done;
}

static void wake(control *c, uint64_t at, uint64_t bytes) {
  struct uffd_range u = {at, bytes};
  for (int tries = 0; tries < WAKE_TRIES; tries++)
    if (uffd_ioctl(c, FS_CALL_WAKE, UFFDIO_WAKE, &u) == 0) return; /* it has no error of its own */
}

/* Returns 0 or an errno; after an errno, pages of the range may be unchanged. */
static int protect(control *c, uint64_t at, uint64_t bytes, uint64_t mode) {
  struct uffd_writeprotect u = {{at, bytes}, mode};
  for (int tries = 0; tries < EAGAIN_TRIES; tries++) {
    long r = uffd_ioctl(c, FS_CALL_PROTECT, UFFDIO_WRITEPROTECT, &u);
    if (r != -EAGAIN) return (int)-r;
    sys(SYS_sched_yield, 0, 0, 0);
  }
  return EAGAIN;
}

/*
 * Lifts the protection of claimed pages and wakes the threads that wait. If part of the range is no longer registered,
 * the kernel does neither for the pages after it, so they are processed one by one.
 */
static void lift(control *c, uint64_t at, uint64_t bytes) {
  if (protect(c, at, bytes, 0) == 0) return;
  for (; bytes > 0; at += PAGE, bytes -= PAGE)
    if (protect(c, at, PAGE, 0) != 0) wake(c, at, PAGE);
}
