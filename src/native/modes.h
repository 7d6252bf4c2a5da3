/* The two users of serve_at(): a thread that reads the userfaultfd, and a handler of SIGBUS. Part of faults.c. */

#define MESSAGES 16
#define LOOK_MS 250
#define LOOK_EVERY 4096

/* ---- thread ---- */

/* Serves one message; waits while other native code holds the page. `h`: null, or its thread is handed over. */
static void serve_message(control *c, const struct uffd_msg *m, struct handover *h) {
  uint32_t flags = (uint32_t)m->flags & (UFFD_FLAG_WRITE | UFFD_FLAG_WP);
  uint64_t page_at = m->address & ~(uint64_t)(PAGE - 1);
  for (int tries = 0;; tries++) {
    int result = serve_at(c, page_at, flags, tries == 0, h);
    if (result == AGAIN) {
      wait_turn(tries);
      continue;
    }
    if (result < 0) wake(c, page_at, PAGE); /* its region has ended */
    if (result == LOST) poison(c, page_at);
    return;
  }
}

static long read_messages(control *c, struct uffd_msg *messages) {
  long n = sys_or_fail(c, FS_CALL_READ, SYS_read, c->uffd, (long)messages, sizeof(struct uffd_msg) * MESSAGES, 0, 0, 0);
  return n <= 0 ? 0 : n / (long)sizeof(struct uffd_msg);
}

/*
 * Waits for messages; returns 0 when the thread must end. After a hand-over the faulting thread runs only when this one
 * waits, so there is no message yet: polling first saves a call that fails.
 */
static int wait_messages(control *c, struct uffd_msg *messages, long *n, struct handover *h) {
  int64_t end = c->spinUs == 0 ? 0 : now_of(c) + c->spinUs * 1000ll;
  int is_poll_first = h->cpu >= 0 && end == 0;
  while (is_poll_first || (*n = read_messages(c, messages)) == 0) {
    is_poll_first = 0;
    if (end != 0 && now_of(c) < end) {
      for (int i = 0; i < 50; i++) pause_cpu();
      continue;
    }
    struct pollfd fds[2] = {{c->uffd, POLLIN, 0}, {c->exitFd, POLLIN, 0}};
    struct timespec64 t = {0, LOOK_MS * 1000000ll};
    long ready = sys_or_fail(c, FS_CALL_POLL, SYS_ppoll, (long)fds, 2, (long)&t, 0, 8, 0);
    if (ready > 0 && fds[1].revents != 0) return 0;
    if (ready == 0) release(h);
    if (ready == 0 && engine_is_gone(c)) return 0;
  }
  return 1;
}

/*
 * The engine's thread has ended without cleaning up: ends the registration, so that missing pages are zeros from now
 * on, and closes the swap files, whose blocks are freed. A read in progress fails, or fails its checksum.
 */
static void close_all(control *c) {
  if (c->uffd >= 0) sys(SYS_close, c->uffd, 0, 0);
  end_files(c);
  for (uint32_t i = 0; i < FS_AREAS_MAX; i++)
    if (swap32(&c->areas[i].isReady, 1, 0)) sys(SYS_close, c->areas[i].fd, 0, 0);
}

/* The start function of the native thread. */
static void *thread_main(void *argument) {
  control *c = argument;
  struct uffd_msg messages[MESSAGES];
  struct follower f = {0, -1, 0, -1};
  struct handover h;
  uint64_t all = ~0ull;
  long n = 0;
  long read = 0;
  sys6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, 8, 0, 0);
  store(&c->threadTid, (int32_t)sys(SYS_gettid, 0, 0, 0));
  begin_handover(&h);
  while (wait_messages(c, messages, &n, &h)) {
    if ((read += n) > LOOK_EVERY) { /* under continuous faults, this is the only check */
      read = 0;
      if (engine_is_gone(c)) break;
    }
    if (n > 1) release(&h);
    wait_begins(c);
    for (long i = 0; i < n; i++) {
      if (messages[i].event != UFFD_EVENT_PAGEFAULT) continue;
      if (c->placement == FS_PLACEMENT_FOLLOWS) follow(&f, messages[i].tid);
      int is_handed_over = c->placement != FS_PLACEMENT_FOLLOWS && n == 1 && is_hand_over(c, &h, &messages[i]);
      serve_message(c, &messages[i], is_handed_over ? &h : 0);
    }
    wait_ends(c);
  }
  if (engine_is_gone(c)) close_all(c);
  if (f.fd >= 0) sys(SYS_close, f.fd, 0, 0);
  store(&c->hasEnded, 1);
  return 0;
}

/* ---- signal ---- */

#define CONTROLS 8

struct siginfo {
  int32_t signo;
  int32_t error;
  int32_t code;
  int32_t pad;
  uint64_t address;
};

static control *controls[CONTROLS];
static struct kernel_sigaction previous;
static uint32_t handler_state;
enum { NO_HANDLER = 0, INSTALLING = 1, INSTALLED = 2 };

#if defined(__x86_64__)
__attribute__((naked, used)) static void restore_rt(void) {
  __asm__ volatile("mov $15, %eax\n\tsyscall");
}

/* ucontext_t: gregs begin at 40, REG_ERR is the 19th. The error code: 1 = protected, 2 = write. */
static uint32_t flags_of(const uint8_t *context) {
  uint64_t code;
  __builtin_memcpy(&code, context + 40 + 19 * 8, 8);
  return (code & 2 ? UFFD_FLAG_WRITE : 0) | (code & 1 ? UFFD_FLAG_WP : 0);
}
#else
/* ucontext_t: records begin at 464; esr_context has the magic 0x45535201. WnR is bit 6, a permission fault 0b0011xx. */
static uint32_t flags_of(const uint8_t *context) {
  const uint8_t *at = context + 464;
  for (int i = 0; i < 64; i++) {
    uint32_t head[2];
    uint64_t esr;
    __builtin_memcpy(head, at, 8);
    if (head[0] == 0 || head[1] == 0) break;
    __builtin_memcpy(&esr, at + 8, 8);
    if (head[0] == 0x45535201u)
      return (esr & 64 ? UFFD_FLAG_WRITE : 0) | ((esr & 0x3c) == 0x0c ? UFFD_FLAG_WP : 0);
    at += head[1];
  }
  return UFFD_FLAG_WRITE;
}
#endif

static void chain(int signal, struct siginfo *info, void *context) {
  if (previous.handler == SIG_DFL || previous.handler == SIG_IGN) {
    int is_sent = info->code <= 0; /* by kill(2) and the like: no access is repeated */
    struct kernel_sigaction action = {0};
    if (is_sent && previous.handler == SIG_IGN) return;
    /* Returning repeats the access, which now ends the process as it would have without this handler. */
    sys6(SYS_rt_sigaction, SIGBUS, (long)&action, 0, 8, 0, 0);
    if (is_sent) sys(SYS_tgkill, sys(SYS_getpid, 0, 0, 0), sys(SYS_gettid, 0, 0, 0), SIGBUS);
    return;
  }
  if (previous.flags & SA_SIGINFO)
    ((void (*)(int, struct siginfo *, void *))previous.handler)(signal, info, context);
  else ((void (*)(int))previous.handler)(signal);
}

/*
 * True if the access can be repeated: it finds ordinary memory, because its region has ended since. The kernel
 * populates the page as the access would, and fails if the access would get a signal (Linux 5.14; earlier ones refuse
 * the advice).
 */
static int is_ordinary(uint64_t page_at, uint32_t flags) {
  int advice = flags == 0 ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
  return sys(SYS_madvise, page_at, PAGE, advice) == 0;
}

/* True if the address was in a region that has just ended: the access is repeated and finds ordinary memory. */
static int has_ended(control *c, uint64_t address) {
  for (int i = 0; i < FS_GRAVES; i++) {
    uint64_t from = load(&c->graves[i * 2]);
    if (address >= from && address < load(&c->graves[i * 2 + 1]))
      return now_ns() - (int64_t)load(&c->buried[i]) < 1000000000;
  }
  return 0;
}

/* Returns 1 if the fault was in a region and is served. */
static int serve_signal(control *c, uint64_t address, uint32_t flags) {
  uint64_t page_at = address & ~(uint64_t)(PAGE - 1);
  for (int tries = 0;; tries++) {
    int result = serve_at(c, page_at, flags, tries == 0, 0);
    if (result == SERVED) return 1;
    if (result < 0) return has_ended(c, page_at);
    if (result == LOST) return 0;
    if (result == AGAIN) wait_turn(tries);
    else {
      sleep_us(50); /* the engine reads it */
      if (tries % 1000 == 999 && engine_is_gone(c)) {
        if (swap32(&c->hasEnded, 0, 1)) close_all(c);
        return 1;
      }
    }
  }
}

static void on_sigbus(int signal, struct siginfo *info, void *context) {
  if (info->code == BUS_ADRERR) {
    uint32_t flags = flags_of(context);
    for (int i = 0; i < CONTROLS; i++) {
      control *c = load(&controls[i]);
      if (c == 0) continue;
      wait_begins(c);
      int is_served = serve_signal(c, info->address, flags);
      wait_ends(c);
      if (is_served) return;
    }
    if (is_ordinary(info->address & ~(uint64_t)(PAGE - 1), flags)) return;
  }
  chain(signal, info, context);
}

/* Address of the thread's start function. */
EXPORT uint64_t fs_thread_start(void) { return (uint64_t)thread_main; }

/* Takes a place among the controls; returns CONTROLS if all are taken. */
static int take_place(control *c) {
  for (int i = 0; i < CONTROLS; i++) {
    control *none = 0;
    if (__atomic_compare_exchange_n(&controls[i], &none, c, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return i;
  }
  return CONTROLS;
}

/*
 * From now on, serves SIGBUS of a control block; returns 0 or an errno. Several threads may open a swap at the same
 * time.
 */
EXPORT int32_t fs_signal_on(uint64_t at) {
  int place = take_place((control *)at);
  if (place == CONTROLS) return EAGAIN;
  while (!swap32(&handler_state, NO_HANDLER, INSTALLING)) {
    if (load(&handler_state) == INSTALLED) return 0;
    sys(SYS_sched_yield, 0, 0, 0);
  }
  struct kernel_sigaction action = {0};
  action.handler = (uint64_t)on_sigbus;
  action.flags = SA_SIGINFO | SA_ONSTACK;
  action.mask = ~0ull;
#if defined(__x86_64__)
  action.flags |= SA_RESTORER;
  action.restorer = (uint64_t)restore_rt;
#endif
  long r = sys6(SYS_rt_sigaction, SIGBUS, 0, (long)&previous, 8, 0, 0); /* before the handler may need it */
  if (r == 0) r = sys6(SYS_rt_sigaction, SIGBUS, (long)&action, (long)&previous, 8, 0, 0);
  if (r != 0) store(&controls[place], (control *)0);
  store(&handler_state, r == 0 ? INSTALLED : NO_HANDLER);
  return (int32_t)-r;
}

/* Ends a control block. The handler stays for the others; foreign faults go to the previously installed handler. */
EXPORT void fs_signal_off(uint64_t at) {
  for (int i = 0; i < CONTROLS; i++)
    if (controls[i] == (control *)at) store(&controls[i], (control *)0);
}
