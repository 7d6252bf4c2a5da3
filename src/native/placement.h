/*
 * The processor of the native thread, in thread mode. Part of faults.c.
 *
 * A fault switches from the faulting thread to the native thread and back. On one processor a switch takes about 2 us.
 * Between two it takes 20 us in a virtual machine, because the other one was idle, and the kernel wakes a thread on an
 * idle processor where there is one.
 *
 *   follows     the program has pinned the faulting thread (sameCore): the native thread follows it
 *   measured    hand-over, where it is faster
 *   hands over  hand-over of every fault, for tests
 *
 * Hand-over. The native thread stays on its processor, and wakes the faulting thread there before its page is present:
 *
 *   message ▶ restrict the thread to this processor ▶ UFFDIO_WAKE: it is queued here ▶ lift the restriction
 *           ▶ decompress ▶ UFFDIO_COPY ▶ wait for a message: the thread runs, and repeats the access
 *
 * - No code of the program runs while its thread is restricted, so nothing that it starts inherits that: its page is
 *   missing until UFFDIO_COPY. If the thread runs too early, it faults again (Linux 5.7, which has write protection,
 *   repeats a fault any number of times).
 * - It costs 5 us, and helps only while another processor is idle. So it begins after faults that took longer than it
 *   would, and a fault without it is tried again and again.
 * - Only for a thread that causes all recent faults, and that may run on the same processors as this thread.
 *
 * Sources: Linux fs/userfaultfd.c, kernel/sched/fair.c (select_idle_sibling), sched_setaffinity(2).
 */

/* ---- following ---- */

#define FOLLOW_EVERY 32

/* Follows the faulting thread to its processor: waking another processor costs more than the fault. */
struct follower {
  uint32_t tid;
  int fd;
  uint32_t left;
  int32_t cpu;
};

static int open_stat(uint32_t tid) {
  char path[48] = "/proc/self/task/";
  char digits[12];
  int n = 0;
  int at = 16;
  do digits[n++] = (char)('0' + tid % 10);
  while ((tid /= 10) != 0);
  while (n > 0) path[at++] = digits[--n];
  const char *tail = "/stat";
  while (*tail) path[at++] = *tail++;
  path[at] = 0;
  return (int)sys6(SYS_openat, AT_FDCWD, (long)path, O_RDONLY_CLOEXEC, 0, 0, 0);
}

/* The processor on which a thread ran last: field 39, the 37th after the name. */
static int32_t processor_of(int fd) {
  char text[512];
  long n = sys6(SYS_pread64, fd, (long)text, sizeof(text) - 1, 0, 0, 0);
  long at = n - 1;
  if (n <= 0) return -1;
  while (at > 0 && text[at] != ')') at--;
  int field = 2;
  for (; at < n && field < 39; at++) field += text[at] == ' ';
  if (at >= n || text[at] < '0' || text[at] > '9') return -1;
  int32_t cpu = 0;
  for (; at < n && text[at] >= '0' && text[at] <= '9'; at++) cpu = cpu * 10 + (text[at] - '0');
  return cpu;
}

static void follow(struct follower *f, uint32_t tid) {
  if (f->tid == tid && f->left-- > 0) return;
  if (f->tid != tid) {
    if (f->fd >= 0) sys(SYS_close, f->fd, 0, 0);
    f->fd = open_stat(tid);
    f->tid = tid;
  }
  f->left = FOLLOW_EVERY;
  int32_t cpu = f->fd < 0 ? -1 : processor_of(f->fd);
  if (cpu < 0 || cpu >= 1024 || cpu == f->cpu) return;
  uint64_t mask[16] = {0};
  mask[cpu >> 6] = 1ull << (cpu & 63);
  if (sys(SYS_sched_setaffinity, 0, sizeof(mask), mask) == 0) f->cpu = cpu;
}

/* ---- hand-over ---- */

#define MASK_WORDS 16
/* Faults of one thread before it is handed over. */
#define STREAK_MIN 8
/* Slow faults in a row, after which the next HANDED faults are handed over. */
#define SLOW_MAX 2
#define HANDED 64
/* A longer time between two faults counts as this, ns: the thread was computing. */
#define TOOK_MAX 200000
/* What a fault that is handed over takes, ns, until that is measured; the average shrinks once in so many other faults. */
#define COST_FIRST 25000
#define FORGET_EVERY 1024
/* This thread is moved to the processor that the kernel chooses for it at least this often, ns. */
#define STAY_NS 4000000

struct handover {
  uint32_t tid;
  uint32_t streak;
  /* The last thread that was handed over: one of this process. */
  uint32_t own;
  /* The processor that this thread is pinned to, or -1. */
  int32_t cpu;
  int64_t since;
  /* Faults that are still to be handed over; slow faults in a row; other faults. */
  uint32_t left;
  uint32_t slow;
  uint32_t others;
  /* Time of the last message; average time from one to the next while faults are handed over, ns. */
  int64_t last;
  int64_t cost;
  /* The processors of this thread when it began; its size in bytes, or 0: there is only one, or they are unknown. */
  long bytes;
  uint64_t all[MASK_WORDS];
};

static int set_processors(uint32_t tid, const uint64_t *mask) {
  return sys(SYS_sched_setaffinity, tid, MASK_WORDS * 8, mask) == 0;
}

/* Lets this thread run on every processor again. */
static void release(struct handover *h) {
  if (h->cpu >= 0) set_processors(0, h->all);
  h->cpu = -1;
}

static void begin_handover(struct handover *h) {
  uint64_t used = 0;
  int is_alone = 1;
  memset(h, 0, sizeof(*h));
  h->cpu = -1;
  h->bytes = sys(SYS_sched_getaffinity, 0, sizeof(h->all), h->all);
  for (int i = 0; i < MASK_WORDS; i++) {
    uint64_t word = h->all[i];
    is_alone &= (used == 0 || word == 0) && (word & (word - 1)) == 0;
    used |= word;
  }
  if (h->bytes <= 0 || is_alone) h->bytes = 0;
}

/* Another thread faults: what was measured says nothing about it. */
static void start_streak(struct handover *h, uint32_t tid, int64_t now) {
  release(h);
  h->tid = tid;
  h->streak = 0;
  h->left = 0;
  h->slow = 0;
  h->last = now;
  h->cost = COST_FIRST;
}

/* Whether to hand the next fault over; `took`: ns since the fault before. */
static int is_handed(struct handover *h, int64_t took) {
  if (took > TOOK_MAX) took = TOOK_MAX;
  if (h->left > 0) {
    h->cost += (took - h->cost) / 16;
    return --h->left > 0;
  }
  h->slow = took > h->cost + h->cost / 4 ? h->slow + 1 : 0;
  if (++h->others % FORGET_EVERY == 0) h->cost -= h->cost / 4;
  if (h->slow < SLOW_MAX) return 0;
  h->slow = 0;
  h->left = HANDED;
  return 1;
}

/* Pins this thread to its processor, or moves it to one that the kernel chooses. Returns 0 until it is pinned. */
static int stay(struct handover *h, int64_t now) {
  uint64_t here[MASK_WORDS] = {0};
  uint32_t cpu = 0;
  if (h->cpu >= 0 && now - h->since < STAY_NS) return 1;
  if (h->cpu >= 0) {
    release(h);
    return 0;
  }
  if (sys(SYS_getcpu, &cpu, 0, 0) != 0 || cpu >= MASK_WORDS * 64) return 0;
  here[cpu >> 6] = 1ull << (cpu & 63);
  if (!set_processors(0, here)) return 0;
  h->cpu = (int32_t)cpu;
  h->since = now;
  return 1;
}

/*
 * Queues the thread on this processor; the page that it waits for is claimed, so that no other thread installs it before
 * the restriction is lifted. Not a thread of another process, which reads our memory (ptrace).
 */
static void wake_here(control *c, struct handover *h, uint64_t page_at) {
  uint64_t theirs[MASK_WORDS] = {0};
  uint64_t here[MASK_WORDS] = {0};
  if (h->own != h->tid && sys(SYS_tgkill, c->pid, h->tid, 0) != 0) return;
  h->own = h->tid;
  here[h->cpu >> 6] = 1ull << (h->cpu & 63);
  if (sys(SYS_sched_getaffinity, h->tid, sizeof(theirs), theirs) != h->bytes) return;
  for (int i = 0; i < MASK_WORDS; i++)
    if (theirs[i] != h->all[i]) return;
  if (!set_processors(h->tid, here)) return;
  wake(c, page_at, PAGE);
  if (!set_processors(h->tid, theirs)) {
    memset(theirs, 0xff, sizeof(theirs)); /* the processors of the process have just changed: any that it may use */
    set_processors(h->tid, theirs);
  }
  count(&c->handed, 1);
}

/* A single message has come. Returns whether its thread is to be handed over. */
static int is_hand_over(control *c, struct handover *h, const struct uffd_msg *m) {
  if (h->bytes == 0 || m->event != UFFD_EVENT_PAGEFAULT) return 0;
  int64_t now = now_of(c);
  int64_t took = now - h->last;
  int is_always = c->placement == FS_PLACEMENT_HANDS_OVER;
  h->last = now;
  if (m->tid != h->tid) start_streak(h, m->tid, now);
  else h->streak++;
  if (is_always || (h->streak >= STREAK_MIN && is_handed(h, took))) return stay(h, now);
  release(h);
  return 0;
}
