/*
 * Serves page faults of paged memory without JavaScript and without locks: docs/design/native-faults.md.
 *
 *   fs_thread()    reads messages of the userfaultfd on a separate thread
 *   on_sigbus()    serves the fault on the thread that faulted
 *   the rest       the functions that the engine calls: batched transitions of page states
 *
 * Rules
 * - A page's state byte changes by compare-and-swap. FS_PAGE_BUSY is held only inside one call, and a thread that
 *   holds it waits only for the kernel.
 * - The protection of a page changes under its claim. More pages than requested may be protected: that costs a fault,
 *   never a lost write.
 * - A shard is read as if its bytes were hostile.
 * - No allocation, no C library, no thread-local storage: it runs in signal handlers and on any thread.
 */
#include "linux.h"

#include "layout.h"

#include "codec.h"

#define EXPORT __attribute__((visibility("default")))

typedef struct fs_control control;
typedef struct fs_region region;

#define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define add(p, v) __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define count(p, v) __atomic_fetch_add(p, v, __ATOMIC_RELAXED)

static int swap8(uint8_t *at, uint8_t from, uint8_t to) {
  return __atomic_compare_exchange_n(at, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static int swap32(uint32_t *at, uint32_t from, uint32_t to) {
  return __atomic_compare_exchange_n(at, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Result of serve(): the page is there, another thread holds it, JavaScript was asked for it, or it is lost. */
enum { SERVED = 0, AGAIN = 1, ASKED = 2, LOST = 3 };

/* Result of an engine's call for each page. */
enum { REFUSED = 0, DONE = 1, PUT_BACK = 2, GONE = 3, BUSY = 4 };

/* A flag of serve(), besides those of a fault: a call of the engine, which must not wait for eviction. */
#define NO_ROOM 0x100

/* Pages of one batch on the stack of a thread that faults. */
#define FAULT_BATCH 128
/* Pages that one fault scans for clean ones. */
#define SCAN_MAX 8192

static region *region_at(control *c, uint32_t number) {
  return (region *)(c->regions + (uint64_t)number * sizeof(region));
}

static uint8_t *states(region *r) { return (uint8_t *)r->state; }
static uint32_t *entries(region *r) { return (uint32_t *)r->entry; }
static struct fs_set *set_of(region *r) { return (struct fs_set *)r->set; }
static uint64_t address_of(region *r, uint32_t page) { return r->address + (uint64_t)page * PAGE; }

#include "calls.h"

/* ---- arrivals ---- */

static void arrive(control *c, region *r, uint32_t page, uint32_t flags) {
  uint32_t head = load(&c->head);
  uint32_t used;
  do {
    used = head - load(&c->tail);
    if (used >= FS_ARRIVALS) {
      store(&r->rescan, 1);
      ring(c);
      return;
    }
  } while (!__atomic_compare_exchange_n(&c->head, &head, head + 1, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE));
  uint32_t *slot = (uint32_t *)c->arrivals + (head & (FS_ARRIVALS - 1)) * 2;
  slot[1] = page;
  store(&slot[0], r->number | flags);
  if (used == FS_ARRIVALS / 2) ring(c);
}

#include "memfd.h"

/* ---- dropping pages ---- */

/* Adds a page to ranges in ascending order; returns the number of ranges. */
static uint32_t add_range(struct iovec *ranges, uint32_t n, uint64_t at) {
  if (n > 0 && ranges[n - 1].base + ranges[n - 1].len == at) {
    ranges[n - 1].len += PAGE;
    return n;
  }
  ranges[n].base = at;
  ranges[n].len = PAGE;
  return n + 1;
}

/* True if no page of the range is in memory: dropped, or not mapped (ENOMEM, also on a second call). */
static int advise_out(control *c, uint64_t at, uint64_t bytes) {
  long r = 0;
  for (int tries = 0; tries < 3; tries++) {
    r = sys_or_fail(c, FS_CALL_MADVISE, SYS_madvise, at, bytes, MADV_DONTNEED, 0, 0, 0);
    if (r == 0) return 1;
  }
  return r == -ENOMEM;
}

static int has_bit(const uint32_t *bits, uint32_t i) { return bits[i >> 5] >> (i & 31) & 1; }

/*
 * Drops claimed pages, ascending, at most FS_BATCH_PAGES; `ranges` has space for that many. Sets a bit in `kept` for
 * each page that the kernel keeps (locked memory). Returns how many are out of memory.
 */
static uint32_t drop_pages(control *c, region *r, const uint32_t *pages, uint32_t n,
                           struct iovec *ranges, uint32_t kept[FS_BATCH_PAGES / 32]) {
  if (is_filed(r)) return punch_pages(c, r, pages, n, kept);
  uint32_t used = 0;
  memset(kept, 0, FS_BATCH_PAGES / 8);
  for (uint32_t i = 0; i < n; i++) used = add_range(ranges, used, address_of(r, pages[i]));
  if (used > 1 && c->pidfd >= 0) {
    long done = sys_or_fail(c, FS_CALL_PROCESS_MADVISE, SYS_process_madvise, c->pidfd, (long)ranges, used,
                            MADV_DONTNEED, 0, 0);
    if (done == (long)n * PAGE) return n;
  }
  uint32_t out = 0;
  for (uint32_t i = 0, at = 0; i < used; i++) {
    uint32_t end = at + (uint32_t)(ranges[i].len / PAGE);
    if (advise_out(c, ranges[i].base, ranges[i].len)) {
      out += end - at;
      at = end;
      continue;
    }
    for (; at < end; at++) { /* part of the range may already be out */
      if (advise_out(c, address_of(r, pages[at]), PAGE)) out++;
      else kept[at >> 5] |= 1u << (at & 31);
    }
  }
  return out;
}

#include "store.h"

/* ---- workspaces ---- */

static int take_workspace(control *c) {
  for (int tries = 0;; tries++) {
    uint32_t taken = load(&c->workspaces);
    uint32_t free = ~taken & ((1u << FS_WORKSPACES) - 1);
    if (free == 0) {
      wait_turn(tries);
      continue;
    }
    int at = __builtin_ctz(free);
    if (swap32(&c->workspaces, taken, taken | 1u << at)) return at;
  }
}

static void free_workspace(control *c, int at) {
  __atomic_fetch_and(&c->workspaces, ~(1u << at), __ATOMIC_RELEASE);
}

static uint8_t *workspace(control *c, int at) {
  return (uint8_t *)c->workspaceMemory + (uint64_t)at * FS_WORKSPACE_PAGES * PAGE;
}

/* ---- prefetch: pager/prefetch.ts; racing threads may mix up its numbers, so each is checked before it is used ---- */

#define WINDOW_MIN 3
#define WINDOW_MAX 255
#define STRIDE_MAX 64

struct prediction {
  int32_t stride;
  uint32_t pages;
  int stream;
};

static int32_t stride_at(region *r, int32_t page, uint32_t i) {
  if (i + 1 > FS_HISTORY) return 0;
  int32_t to = i == 0 ? page : r->history[(r->historyAt + FS_HISTORY - i) % FS_HISTORY];
  int32_t from = r->history[(r->historyAt + 2 * FS_HISTORY - i - 1) % FS_HISTORY];
  return from < 0 || to < 0 ? 0 : to - from;
}

static int32_t majority(region *r, int32_t page, uint32_t among) {
  int32_t candidate = 0;
  int votes = 0;
  for (uint32_t i = 0; i < among; i++) {
    int32_t stride = stride_at(r, page, i);
    if (votes == 0) candidate = stride;
    votes += stride == candidate ? 1 : -1;
  }
  if (candidate == 0 || candidate > STRIDE_MAX || candidate < -STRIDE_MAX) return 0;
  uint32_t agreeing = 0;
  for (uint32_t i = 0; i < among; i++) agreeing += stride_at(r, page, i) == candidate;
  return agreeing * 2 > among ? candidate : 0;
}

static int32_t vote(region *r, int32_t page) {
  for (uint32_t among = 4; among <= FS_HISTORY; among *= 2) {
    int32_t stride = majority(r, page, among);
    if (stride != 0) return stride;
  }
  int has_next = 0;
  for (int i = 0; i < FS_HISTORY; i++) {
    if (page > 0 && r->history[i] == page - 1) return 1;
    has_next |= r->history[i] == page + 1;
  }
  return has_next ? -1 : 0;
}

static struct prediction predict(region *r, uint32_t page) {
  struct prediction p = {1, 0, -1};
  for (int i = 0; i < FS_STREAMS && p.stream < 0; i++)
    if (r->expected[i] == (int32_t)page) p.stream = i;
  if (p.stream >= 0) {
    int32_t window = r->windows[p.stream] * 2 + 1;
    r->windows[p.stream] = window > WINDOW_MAX || window < 1 ? WINDOW_MAX : window;
  } else {
    int32_t stride = vote(r, (int32_t)page);
    if (stride != 0) {
      p.stream = (int)(r->streamNext % FS_STREAMS);
      r->streamNext = (uint32_t)p.stream + 1;
      r->strides[p.stream] = stride;
      r->windows[p.stream] = WINDOW_MIN;
    }
  }
  r->history[r->historyAt % FS_HISTORY] = (int32_t)page;
  r->historyAt = (r->historyAt + 1) % FS_HISTORY;
  if (p.stream < 0) return p;
  p.stride = r->strides[p.stream];
  if (p.stride == 0 || p.stride > STRIDE_MAX || p.stride < -STRIDE_MAX) p.stride = 1;
  uint32_t fitting =
      p.stride > 0 ? (r->pages - 1 - page) / (uint32_t)p.stride : page / (uint32_t)-p.stride;
  uint32_t window = (uint32_t)r->windows[p.stream];
  p.pages = window < fitting ? window : fitting;
  return p;
}

/* Records that `pages` of the predicted pages are there: the stream continues after them. */
static void record(region *r, uint32_t page, const struct prediction *p, uint32_t pages) {
  if (p->stream >= 0) r->expected[p->stream] = (int32_t)page + p->stride * (int32_t)(pages + 1);
}

/* ---- budget ---- */

static void count_in(control *c, region *r, int32_t pages) {
  struct fs_set *set = set_of(r);
  if (add(&set->resident, pages) + pages > load(&set->high)) ring(c);
}

static void count_out(region *r, int32_t pages) {
  struct fs_set *set = set_of(r);
  add(&set->resident, -pages);
  add(&set->evictions, 1);
  if (load(&set->waiters) != 0) sys6(SYS_futex, (long)&set->evictions, FUTEX_WAKE_PRIVATE, 64, 0, 0, 0);
}

static int is_same(const uint8_t *a, const uint8_t *b) {
  v2 differing = {0, 0};
  for (uint32_t i = 0; i < PAGE; i += 16) differing |= load16(a + i) ^ load16(b + i);
  return (differing[0] | differing[1]) == 0;
}

/* Whether the stored copy of a page of a memory file, claimed and not mapped, still equals it. */
static int is_like_copy(control *c, region *r, uint32_t page, uint8_t *work) {
  uint8_t *bytes = work + PAGE;
  if (load_page(c, entries(r)[page], work, work) <= 0) return 0;
  if (sys_or_fail(c, FS_CALL_PREAD, SYS_pread64, r->fd, (long)bytes, PAGE, (long)page * PAGE, 0, 0) != PAGE) return 0;
  return is_same(work, bytes);
}

/* drop_claimed() for pages of a memory file: written ones are dirty. A few at a time, because the pages are held. */
static uint32_t drop_unwritten(control *c, region *r, const uint32_t *pages, uint32_t n, uint32_t *kept) {
  uint32_t leaving[FAULT_BATCH / 4];
  uint32_t stays[FS_BATCH_PAGES / 32];
  uint32_t out = 0;
  int at = take_workspace(c);
  memset(kept, 0, FS_BATCH_PAGES / 8);
  for (uint32_t i = 0, end; i < n; i = end) {
    uint32_t left = 0;
    end = i + FAULT_BATCH / 4 < n ? i + FAULT_BATCH / 4 : n;
    int is_unmapped = unmap_pages(c, r, pages + i, end - i);
    for (uint32_t j = i; j < end; j++) {
      if (is_unmapped && is_like_copy(c, r, pages[j], workspace(c, at))) {
        leaving[left++] = pages[j];
        continue;
      }
      kept[j >> 5] |= 1u << (j & 31);
      store(&states(r)[pages[j]], FS_PAGE_DIRTY);
      arrive(c, r, pages[j], FS_ARRIVAL_WROTE);
    }
    out += punch_pages(c, r, leaving, left, stays);
    for (uint32_t j = i, k = 0; j < end; j++) {
      if (has_bit(kept, j)) continue;
      int is_kept = has_bit(stays, k++);
      if (is_kept) kept[j >> 5] |= 1u << (j & 31);
      store(&states(r)[pages[j]], is_kept ? FS_PAGE_CLEAN : FS_PAGE_STORED);
    }
  }
  free_workspace(c, at);
  count(&r->pagesDropped, out);
  if (out > 0) count_out(r, (int32_t)out);
  return out;
}

/* Drops claimed clean pages, whose slots are valid. See drop_pages(). */
static uint32_t drop_claimed(control *c, region *r, const uint32_t *pages, uint32_t n,
                             struct iovec *ranges, uint32_t kept[FS_BATCH_PAGES / 32]) {
  if (n == 0) return 0;
  if (is_filed(r)) return drop_unwritten(c, r, pages, n, kept);
  uint32_t out = drop_pages(c, r, pages, n, ranges, kept);
  for (uint32_t i = 0; i < n; i++)
    store(&states(r)[pages[i]], has_bit(kept, i) ? FS_PAGE_CLEAN : FS_PAGE_STORED);
  count(&r->pagesDropped, out);
  if (out > 0) count_out(r, (int32_t)out);
  return out;
}

/* Drops up to `wanted` clean pages of the region, starting at the hand. */
static uint32_t drop_clean(control *c, region *r, uint32_t wanted) {
  uint32_t pages[FAULT_BATCH];
  struct iovec ranges[FAULT_BATCH];
  uint32_t kept[FS_BATCH_PAGES / 32];
  uint32_t n = 0;
  if (load(&c->isFrozen)) return 0;
  if (wanted > FAULT_BATCH) wanted = FAULT_BATCH;
  uint32_t at = r->hand;
  for (uint32_t looked = 0; looked < r->pages && looked < SCAN_MAX && n < wanted; looked++, at++) {
    if (at >= r->pages) {
      if (n > 0) break; /* ranges are in ascending order */
      at = 0;
    }
    if (load(&states(r)[at]) == FS_PAGE_CLEAN && swap8(&states(r)[at], FS_PAGE_CLEAN, FS_PAGE_BUSY))
      pages[n++] = at;
  }
  r->hand = at;
  if (n == 0) return 0;
  uint32_t dropped = drop_claimed(c, r, pages, n, ranges, kept);
  for (uint32_t i = 0; i < n; i++)
    if (!has_bit(kept, i)) arrive(c, r, pages[i], 0);
  return dropped;
}

/* Whether waiting can help: eviction was making progress in its last pass. */
static int is_evicting(control *c, struct fs_set *set) {
  return !load(&set->isStuck) && !load(&c->isFrozen);
}

/* Makes space for a faulting page; returns how many more fit with it. May delay the fault until eviction catches up. */
static uint32_t make_room(control *c, region *r) {
  struct fs_set *set = set_of(r);
  int32_t ceiling = load(&set->ceiling);
  if (load(&set->resident) >= ceiling) {
    ring(c);
    drop_clean(c, r, FAULT_BATCH);
  }
  if (load(&set->resident) >= ceiling && is_evicting(c, set)) {
    int64_t end = now_of(c) + FS_THROTTLE_MS * 1000000ll;
    count(&r->throttled, 1);
    add(&set->waiters, 1);
    while (load(&set->resident) >= ceiling && is_evicting(c, set)) {
      uint32_t seen = load(&set->evictions);
      ring(c);
      struct timespec64 t = {0, 2000000};
      if (load(&set->resident) >= ceiling)
        sys_or_fail(c, FS_CALL_FUTEX, SYS_futex, (long)&set->evictions, FUTEX_WAIT_PRIVATE, seen, (long)&t, 0, 0);
      if (now_of(c) > end) break;
    }
    add(&set->waiters, -1);
  }
  int32_t left = ceiling - load(&set->resident) - 1;
  return left < 0 ? 0 : (uint32_t)left;
}

/* ---- serving a fault ---- */

#include "placement.h"

/* The page is claimed and cannot be read here: leave it to the engine. */
static int ask(control *c, region *r, uint32_t page) {
  ask_begins(c);
  store(&states(r)[page], FS_PAGE_ASKED);
  arrive(c, r, page, 0);
  ring(c);
  return ASKED;
}

/* Sets the state of claimed and installed pages. */
static void installed(control *c, region *r, uint32_t page, uint32_t n, uint8_t state,
                      uint32_t flags) {
  for (uint32_t i = 0; i < n; i++) {
    store(&states(r)[page + i], state);
    arrive(c, r, page + i, i == 0 ? flags : flags | FS_ARRIVAL_PREFETCHED);
  }
  count_in(c, r, (int32_t)n);
}

/* A window: the pages page, page + stride, .., and a bit for each that is claimed and in the workspace. */
struct window {
  uint32_t page;
  int32_t stride;
  uint32_t end;
  uint64_t have;
};

static uint32_t page_in(const struct window *w, uint32_t i) {
  return w->page + (uint32_t)(w->stride * (int32_t)i);
}

/*
 * Claims the stored pages of the window after its i-th, which is claimed, while their slots are consecutive in one swap
 * file. Returns how many pages these are, including the first.
 */
static uint32_t claim_run(control *c, region *r, const struct window *w, uint32_t ahead) {
  uint32_t entry = entries(r)[page_in(w, w->end)];
  uint32_t n = 1;
  if (!is_in_file(entry)) return 1;
  for (; w->end + n <= ahead; n++) {
    uint32_t next = page_in(w, w->end + n);
    if (!swap8(&states(r)[next], FS_PAGE_STORED, FS_PAGE_BUSY)) break;
    if (entries(r)[next] == entry + n) continue;
    store(&states(r)[next], FS_PAGE_STORED);
    break;
  }
  return n;
}

/*
 * Claims and reads the stored pages of the window after the first, up to `ahead`; neighbours in a file are read in one
 * call. Skips pages that are not stored, and ends at one that cannot be read.
 */
static void read_ahead(control *c, region *r, struct window *w, uint32_t ahead, uint8_t *work) {
  while (w->end <= ahead) {
    uint32_t next = page_in(w, w->end);
    if (!swap8(&states(r)[next], FS_PAGE_STORED, FS_PAGE_BUSY)) {
      w->end++;
      continue;
    }
    uint32_t n = claim_run(c, r, w, ahead);
    int read = load_pages(c, entries(r)[next], n, work, work + w->end * PAGE);
    uint32_t done = read < 0 ? 0 : (uint32_t)read;
    for (uint32_t i = done; i < n; i++)
      store(&states(r)[page_in(w, w->end + i)], FS_PAGE_STORED);
    for (uint32_t i = 0; i < done; i++) w->have |= 1ull << (w->end + i);
    w->end += done;
    if (done < n) return;
  }
}

/*
 * Installs the pages of a window, neighbours in one call. Pages that cannot be installed become stored, except the
 * first.
 */
static uint32_t install_window(control *c, region *r, struct window *w, const uint8_t *work,
                               int is_writable, uint32_t flags) {
  uint8_t state = is_writable ? FS_PAGE_DIRTY : FS_PAGE_CLEAN;
  uint64_t mode = is_writable ? 0 : COPY_MODE_WP;
  uint32_t total = 0;
  int has_failed = 0;
  for (uint32_t i = 0; i < w->end;) {
    uint32_t end = i + 1;
    if (!(w->have >> i & 1)) {
      i++;
      continue;
    }
    while (w->stride == 1 && end < w->end && w->have >> end & 1) end++;
    uint32_t n = end - i;
    uint32_t done = 0;
    int error = 0;
    if (!has_failed) done = pages_in(c, r, page_in(w, i), (uint64_t)(work + i * PAGE), n, mode, &error);
    has_failed |= done < n;
    if (done > 0) installed(c, r, page_in(w, i), done, state, i == 0 ? flags : flags | FS_ARRIVAL_PREFETCHED);
    total += done;
    for (uint32_t j = i + done; j < end; j++)
      if (j > 0) store(&states(r)[page_in(w, j)], FS_PAGE_STORED);
    i = end;
  }
  return total;
}

/*
 * Brings in a claimed stored page, with up to `ahead` more of its window. Returns how many; 0 if the engine must read
 * it, and the page is still claimed. *seen: number of pages of the window brought in or skipped.
 */
static uint32_t bring(control *c, region *r, uint32_t page, int32_t stride, uint32_t ahead,
                      int is_writable, uint32_t flags, uint32_t *seen) {
  struct window w = {page, stride, 1, 1};
  int at = take_workspace(c);
  uint8_t *work = workspace(c, at);
  int read = load_page(c, entries(r)[page], work, work);
  if (read < 0) memset(work, 0, PAGE); /* the store is gone and no thread can read it: the process is ending */
  uint32_t done = 0;
  if (read != 0) {
    read_ahead(c, r, &w, ahead, work);
    done = install_window(c, r, &w, work, is_writable, flags);
  }
  free_workspace(c, at);
  count(&r->pagesIn, done);
  *seen = w.end;
  return done;
}

/*
 * Whether a page of a memory file becomes dirty immediately: dropping it as clean would mean reading it from the swap
 * file.
 */
static int is_costly_copy(region *r, uint32_t page) {
  return is_filed(r) && is_in_file(entries(r)[page]);
}

/* A fault on a claimed stored page; also brings in the pages likely to be accessed next. */
static int swap_in(control *c, region *r, uint32_t page, int is_write, uint32_t room) {
  struct prediction p = predict(r, page);
  uint32_t ahead = p.pages;
  if (ahead > FS_WINDOW_PAGES - 1) ahead = FS_WINDOW_PAGES - 1;
  if (ahead > room) ahead = room;
  int is_writable = is_write || load(&r->isWritable) || is_costly_copy(r, page);
  uint32_t flags = is_write ? FS_ARRIVAL_WROTE : 0;
  uint32_t seen = 1;
  uint32_t done = bring(c, r, page, p.stride, ahead, is_writable, flags, &seen);
  if (done == 0) return ask(c, r, page);
  count(&r->swapInFaults, 1);
  count(&r->pagesPrefetched, done - 1);
  record(r, page, &p, seen - 1);
  return SERVED;
}

/* Zero-fills a claimed absent page, and in a stream the absent pages after it. */
static int zero_fill(control *c, region *r, uint32_t page, int is_write, uint32_t room) {
  struct prediction p = predict(r, page);
  uint32_t ahead = p.stride == 1 ? p.pages : 0;
  if (ahead > FS_WINDOW_PAGES - 1) ahead = FS_WINDOW_PAGES - 1;
  if (ahead > room) ahead = room;
  if (is_filed(r)) ahead = accessible_ahead(r, page, ahead);
  uint32_t n = 1;
  while (n <= ahead && swap8(&states(r)[page + n], FS_PAGE_ABSENT, FS_PAGE_BUSY)) n++;
  int error = 0;
  uint32_t done = zero_pages_in(c, r, page, n, is_write, &error);
  if (done == 0 && n > 1 && error != EEXIST) done = zero_pages_in(c, r, page, 1, is_write, &error);
  for (uint32_t i = done == 0 ? 1 : done; i < n; i++) store(&states(r)[page + i], FS_PAGE_ABSENT);
  if (done == 0 && error == EEXIST) { /* its owner already had it: it counts from now on */
    lift(c, address_of(r, page), PAGE);
    done = 1;
  }
  if (done == 0) {
    store(&states(r)[page], FS_PAGE_ABSENT); /* unmapped: the thread retries, or is killed */
    if (!is_filed(r)) wake(c, address_of(r, page), PAGE);
    count(&r->spuriousFaults, 1);
    return SERVED;
  }
  installed(c, r, page, done, FS_PAGE_DIRTY, is_write ? FS_ARRIVAL_WROTE : 0);
  count(&r->zeroFillFaults, 1);
  count(&r->zerosPrefetched, done - 1);
  record(r, page, &p, done - 1);
  return SERVED;
}

/* The first write to a claimed clean page. For a sequential writer, also makes the clean pages after it writable. */
static int write_fault(control *c, region *r, uint32_t page) {
  uint32_t window = page == r->writeAt ? r->writeWindow * 2 : 1;
  if (window == 0 || window > FS_WINDOW_PAGES) window = FS_WINDOW_PAGES;
  r->writeWindow = window;
  uint32_t n = 1;
  while (n < window && page + n < r->pages &&
         swap8(&states(r)[page + n], FS_PAGE_CLEAN, FS_PAGE_BUSY))
    n++;
  r->writeAt = page + n;
  lift(c, address_of(r, page), (uint64_t)n * PAGE);
  for (uint32_t i = 0; i < n; i++) {
    store(&states(r)[page + i], FS_PAGE_DIRTY);
    arrive(c, r, page + i, i == 0 ? FS_ARRIVAL_WROTE : FS_ARRIVAL_WROTE | FS_ARRIVAL_PREFETCHED);
  }
  count(&r->writeFaults, 1);
  return SERVED;
}

/*
 * A fault on a page that is resident by its state, claimed as `state`. Either it was installed after the access, or it
 * is protected with others, or its owner has dropped it without telling the pager: then it is zero-filled.
 */
static int resident_fault(control *c, region *r, uint32_t page, uint8_t state, uint32_t flags) {
  int error = 0;
  count(&r->spuriousFaults, 1);
  if (flags & UFFD_FLAG_WP) lift(c, address_of(r, page), PAGE);
  else if (zeros_in(c, address_of(r, page), PAGE, flags & UFFD_FLAG_WRITE, &error) != PAGE)
    wake(c, address_of(r, page), PAGE);
  else if (state == FS_PAGE_CLEAN || state == FS_PAGE_EVICTING) { /* zeros, and not protected */
    store(&states(r)[page], FS_PAGE_DIRTY);
    arrive(c, r, page, FS_ARRIVAL_WROTE);
    return SERVED;
  }
  store(&states(r)[page], state);
  return SERVED;
}

/*
 * The same for a page of a memory file: it is not mapped; its bytes are in the file. Any access cancels its eviction.
 */
static int unmapped_fault(control *c, region *r, uint32_t page, uint8_t state, uint32_t flags) {
  int is_written = state == FS_PAGE_CLEAN && (flags & (UFFD_FLAG_WRITE | UFFD_FLAG_WP)) != 0;
  count(&r->spuriousFaults, 1);
  if (!(flags & NO_ROOM && is_pinned(r, page) && is_marked(r, page))) map_resident(c, r, page);
  store(&states(r)[page], state == FS_PAGE_CLEAN && !is_written ? FS_PAGE_CLEAN : FS_PAGE_DIRTY);
  if (is_written) arrive(c, r, page, FS_ARRIVAL_WROTE);
  return SERVED;
}

/* `h`: not null where the native thread hands the faulting thread over, while the page is claimed: placement.h. */
static int serve(control *c, region *r, uint32_t page, uint32_t flags, struct handover *h) {
  uint8_t *state = states(r) + page;
  int is_write = (flags & (UFFD_FLAG_WRITE | UFFD_FLAG_WP)) != 0;
  uint32_t room = 0;
  int has_room = 0;
  for (;;) {
    uint8_t now = load(state);
    switch (now) {
      case FS_PAGE_STORED:
      case FS_PAGE_ABSENT:
        if (now == FS_PAGE_ABSENT && !is_accessible(r, page)) return SERVED; /* asked by the engine */
        if (!has_room && !(flags & NO_ROOM)) { /* before the claim: it may take time */
          room = make_room(c, r);
          has_room = 1;
          continue;
        }
        if (!swap8(state, now, FS_PAGE_BUSY)) continue;
        if (h != 0 && now == FS_PAGE_STORED) wake_here(c, h, address_of(r, page));
        return now == FS_PAGE_STORED ? swap_in(c, r, page, is_write, room)
                                     : zero_fill(c, r, page, is_write, room);
      case FS_PAGE_DIRTY:
        if (!swap8(state, now, FS_PAGE_BUSY)) continue;
        if (is_filed(r)) return unmapped_fault(c, r, page, now, flags);
        return resident_fault(c, r, page, now, flags);
      case FS_PAGE_CLEAN:
        if (!swap8(state, now, FS_PAGE_BUSY)) continue;
        if (is_filed(r)) return unmapped_fault(c, r, page, now, flags);
        if (h != 0 && flags & UFFD_FLAG_WP) wake_here(c, h, address_of(r, page));
        return flags & UFFD_FLAG_WP ? write_fault(c, r, page)
                                    : resident_fault(c, r, page, now, flags);
      case FS_PAGE_EVICTING:
        if (!swap8(state, now, FS_PAGE_BUSY)) continue;
        if (is_filed(r)) return unmapped_fault(c, r, page, now, flags);
        /* A write cancels the eviction; a read of a page that its owner dropped finds zeros. */
        if (!is_write) return resident_fault(c, r, page, now, flags);
        return resident_fault(c, r, page, FS_PAGE_DIRTY, flags);
      case FS_PAGE_ASKED:
        return ASKED;
      case FS_PAGE_LOST:
        return LOST;
      default:
        return AGAIN;
    }
  }
}

/* ---- finding the region of an address ---- */

static uint32_t enter(control *c) {
  uint32_t epoch = load(&c->epoch) & 1;
  add(&c->readers[epoch], 1);
  return epoch;
}

static void leave(control *c, uint32_t epoch) { add(&c->readers[epoch], -1); }

static region *find(control *c, uint64_t address) {
  uint32_t which = __atomic_load_n(&c->index, __ATOMIC_SEQ_CST) & 1;
  const uint32_t *numbers = (const uint32_t *)c->indexes[which];
  uint32_t low = 0;
  uint32_t high = load(&c->regionCount[which]);
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (region_at(c, numbers[middle])->address > address) high = middle;
    else low = middle + 1;
  }
  if (low == 0) return 0;
  region *r = region_at(c, numbers[low - 1]);
  return address < address_of(r, r->pages) ? r : 0;
}

/* Serves the fault at an address. `is_first`: first try. `h`: see serve(). Returns -1 if the address is in no region. */
static int serve_at(control *c, uint64_t address, uint32_t flags, int is_first, struct handover *h) {
  uint32_t epoch = enter(c);
  region *r = find(c, address);
  int result = -1;
  if (r != 0) {
    uint32_t page = (uint32_t)((address - r->address) / PAGE);
    if (is_first) count(&r->faults, 1);
    if (is_filed(r)) make_accessible(r, page);
    result = serve(c, r, page, flags, h);
    if (result == LOST) count(&r->lostFaults, 1);
  }
  leave(c, epoch);
  return result;
}

static void poison(control *c, uint64_t address) {
  struct uffd_zeropage u = {{address, PAGE}, 0, 0};
  if (uffd_ioctl(c, FS_CALL_POISON, UFFDIO_POISON, &u) != 0) wake(c, address, PAGE);
}

static int engine_is_gone(control *c) {
  return sys(SYS_tgkill, c->pid, c->engineTid, 0) == -ESRCH;
}

#include "modes.h"

#include "engine.h"
