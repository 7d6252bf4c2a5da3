/*
 * The functions that the engine calls. Arguments are addresses and numbers; `pages` are ascending. Part of faults.c.
 *
 * The caller is one thread, so a page that is `evicting` stays so unless a fault cancels it.
 */

static const uint32_t offsets[] = {FS_OFFSETS};

/* The i-th of FS_OFFSETS as this file was compiled; -1 if there are no more. */
EXPORT int32_t fs_offset(uint32_t i) {
  return i < sizeof(offsets) / sizeof(offsets[0]) ? (int32_t)offsets[i] : -1;
}

/* Fills the tables. Call it before any other function; it may be called repeatedly. */
EXPORT void fs_init(void) { init_codec(); }

/* For tests of codec.h: `from` and `page` are followed by slack. */
EXPORT int32_t fs_lz4(uint64_t from, int32_t length, uint64_t page) {
  return lz4_decompress((const uint8_t *)from, length, (uint8_t *)page);
}

EXPORT uint32_t fs_checksum(uint64_t from, uint32_t length, uint32_t seed) {
  return checksum((const uint8_t *)from, length, seed);
}

EXPORT uint32_t fs_block_sum(uint64_t page) { return block_sum((const uint8_t *)page); }

EXPORT int32_t fs_planes(uint32_t filter, uint64_t from, uint64_t rows, uint64_t page) {
  return from_planes(filter, (const uint8_t *)from, (uint8_t *)rows, (uint8_t *)page);
}

/* Reads the page of an entry as a fault does. Returns 1, 0 (JavaScript must read it), or -1 (not mapped). */
EXPORT int32_t fs_load(uint64_t at, uint32_t entry, uint64_t page) {
  control *c = (control *)at;
  int w = take_workspace(c);
  uint8_t *work = workspace(c, w);
  int read = load_page(c, entry, work, work);
  if (read > 0) memcpy((void *)page, work, PAGE);
  free_workspace(c, w);
  return read;
}

/* Brings a page in as a fault would. Returns SERVED, ASKED or LOST. */
EXPORT int32_t fs_serve(uint64_t at, uint32_t number, uint32_t page, uint32_t flags) {
  control *c = (control *)at;
  region *r = region_at(c, number);
  for (int tries = 0;; tries++) {
    int result = serve(c, r, page, flags, 0);
    if (result != AGAIN) return result;
    wait_turn(tries);
  }
}

/* Returns the state of a page once no other thread holds it. */
EXPORT uint32_t fs_state(uint64_t at, uint32_t number, uint32_t page) {
  uint8_t *state = &states(region_at((control *)at, number))[page];
  uint8_t now;
  for (int tries = 0; (now = load(state)) == FS_PAGE_BUSY; tries++) wait_turn(tries);
  return now;
}

/* Brings in the stored pages of [from, to), up to the first that the engine has to read. Returns where it ended. */
EXPORT uint32_t fs_bring(uint64_t at, uint32_t number, uint32_t from, uint32_t to,
                         int32_t is_writable) {
  control *c = (control *)at;
  region *r = region_at(c, number);
  while (from < to) {
    uint32_t ahead = to - from - 1 < FS_WINDOW_PAGES - 1 ? to - from - 1 : FS_WINDOW_PAGES - 1;
    uint32_t seen = 1;
    if (fs_state(at, number, from) == FS_PAGE_STORED &&
        swap8(&states(r)[from], FS_PAGE_STORED, FS_PAGE_BUSY)) {
      int is_dirty = is_writable || is_costly_copy(r, from);
      if (bring(c, r, from, 1, ahead, is_dirty, FS_ARRIVAL_PREFETCHED, &seen) == 0) {
        store(&states(r)[from], FS_PAGE_STORED);
        return from;
      }
    }
    from += seen;
  }
  return to;
}

/* The region ends: its memory is already ordinary memory. An access whose SIGBUS is in progress is repeated. */
EXPORT void fs_bury(uint64_t at, uint32_t number) {
  control *c = (control *)at;
  region *r = region_at(c, number);
  uint32_t i = c->graveNext++ % FS_GRAVES;
  store(&c->buried[i], (uint64_t)now_ns());
  store(&c->graves[i * 2 + 1], address_of(r, r->pages));
  store(&c->graves[i * 2], r->address);
}

/*
 * Changes the state of a page once no other thread holds it. Returns 0 if it is in another state. The value found by
 * the compare-and-swap decides: a second read could find a page that was put back in between and report another state.
 */
static int change(uint8_t *state, uint8_t from, uint8_t to) {
  for (int tries = 0;; tries++) {
    uint8_t now = from;
    if (__atomic_compare_exchange_n(state, &now, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return 1;
    if (now != FS_PAGE_BUSY) return 0;
    wait_turn(tries);
  }
}

/* Lifts the protection of dirty pages [from, to), each under its claim. */
static void lift_dirty(control *c, region *r, uint32_t from, uint32_t to) {
  for (uint32_t at = from; at < to;) {
    uint32_t end = at;
    while (end < to && swap8(&states(r)[end], FS_PAGE_DIRTY, FS_PAGE_BUSY)) end++;
    if (end > at) lift(c, address_of(r, at), (uint64_t)(end - at) * PAGE);
    for (; at < end; at++) store(&states(r)[at], FS_PAGE_DIRTY);
    at = end + 1;
  }
}

#define CHUNK_SHIFT 9
#define SPAN_RUNS 8
#define SPAN_PAGES 32

/* From now on, a write to the pages faults; for a memory file, any access. Returns 0 or an errno. */
static int guard_pages(control *c, region *r, uint32_t page, uint32_t n) {
  if (is_filed(r)) return map_run(c, r, page, n, 0);
  return protect(c, address_of(r, page), (uint64_t)n * PAGE, WRITEPROTECT_MODE_WP);
}

/* Protects a run of `evicting` pages. A page that cannot be protected is not evicted: a write to it would be lost. */
static void protect_run(control *c, region *r, const uint32_t *pages, uint8_t *results, uint32_t n) {
  if (guard_pages(c, r, pages[0], n) == 0) return;
  for (uint32_t i = 0; i < n; i++) {
    if (guard_pages(c, r, pages[i], 1) == 0) continue;
    change(&states(r)[pages[i]], FS_PAGE_EVICTING, FS_PAGE_DIRTY);
    results[i] = REFUSED;
  }
}

/* Protects the `evicting` pages of one chunk, in one call if they form many runs. */
static void protect_chunk(control *c, region *r, const uint32_t *pages, uint8_t *results,
                          uint32_t n, int may_span) {
  uint32_t runs = 0;
  uint32_t dirty = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (!results[i]) continue;
    dirty++;
    runs += i == 0 || !results[i - 1] || pages[i - 1] + 1 != pages[i];
  }
  uint32_t span = pages[n - 1] + 1 - pages[0];
  if (may_span && runs >= SPAN_RUNS && span <= dirty * SPAN_PAGES) {
    int error = protect(c, address_of(r, pages[0]), (uint64_t)span * PAGE, WRITEPROTECT_MODE_WP);
    for (uint32_t i = 0; i + 1 < n; i++)
      if (pages[i] + 1 < pages[i + 1]) lift_dirty(c, r, pages[i] + 1, pages[i + 1]);
    if (error == 0) return;
  }
  for (uint32_t i = 0; i < n;) {
    uint32_t end = i + 1;
    if (!results[i]) { /* a run begins with an evicting page: skip a refused one */
      i = end;
      continue;
    }
    while (end < n && results[end] && pages[end] == pages[end - 1] + 1) end++;
    protect_run(c, r, pages + i, results + i, end - i);
    i = end;
  }
}

/*
 * Begins the eviction of dirty pages: makes them `evicting` and protects them. results: DONE, or REFUSED if the page is
 * not dirty or cannot be protected. The engine may read the DONE pages until it commits them.
 */
EXPORT void fs_evict_begin(uint64_t at, uint32_t number, uint64_t pages_at, uint32_t n,
                           uint64_t results_at, int32_t may_span) {
  control *c = (control *)at;
  region *r = region_at(c, number);
  const uint32_t *pages = (const uint32_t *)pages_at;
  uint8_t *results = (uint8_t *)results_at;
  if (is_filed(r)) may_span = 0; /* the pages in between would also be unmapped */
  for (uint32_t i = 0; i < n; i++)
    results[i] = swap8(&states(r)[pages[i]], FS_PAGE_DIRTY, FS_PAGE_EVICTING) ? DONE : REFUSED;
  for (uint32_t i = 0; i < n;) {
    uint32_t chunk = pages[i] >> CHUNK_SHIFT;
    uint32_t end = i;
    while (end < n && pages[end] >> CHUNK_SHIFT == chunk) end++;
    protect_chunk(c, r, pages + i, results + i, end - i, may_span);
    i = end;
  }
}

/*
 * Ends the eviction: a page with an entry is stored and leaves memory, a page without one stays. results: DONE;
 * PUT_BACK if it stays; REFUSED if a write cancelled it: it is dirty, and the engine frees the entry. At most
 * FS_BATCH_PAGES pages.
 */
EXPORT void fs_evict_commit(uint64_t at, uint32_t number, uint64_t pages_at, uint64_t entries_at,
                            uint32_t n, uint64_t results_at) {
  control *c = (control *)at;
  region *r = region_at(c, number);
  const uint32_t *pages = (const uint32_t *)pages_at;
  const uint32_t *slots = (const uint32_t *)entries_at;
  uint8_t *results = (uint8_t *)results_at;
  struct iovec ranges[FS_BATCH_PAGES];
  uint32_t leaving[FS_BATCH_PAGES];
  uint32_t kept[FS_BATCH_PAGES / 32];
  uint32_t out = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint8_t *state = &states(r)[pages[i]];
    results[i] = REFUSED; /* a read fault may hold the page and will put it back */
    if (change(state, FS_PAGE_EVICTING, FS_PAGE_BUSY)) results[i] = slots[i] == 0 ? PUT_BACK : DONE;
    if (results[i] == PUT_BACK) {
      if (!is_filed(r)) lift(c, address_of(r, pages[i]), PAGE);
      store(state, FS_PAGE_DIRTY);
    } else if (results[i] == DONE) {
      leaving[out++] = pages[i];
    }
  }
  if (out == 0) return;
  uint32_t left = drop_pages(c, r, leaving, out, ranges, kept);
  for (uint32_t i = 0, at = 0; i < n; i++) {
    if (results[i] != DONE) continue;
    if (!has_bit(kept, at++)) {
      __atomic_store_n(&entries(r)[pages[i]], slots[i], __ATOMIC_RELAXED);
      store(&states(r)[pages[i]], FS_PAGE_STORED);
      continue;
    }
    results[i] = PUT_BACK;
    if (!is_filed(r)) lift(c, address_of(r, pages[i]), PAGE);
    store(&states(r)[pages[i]], FS_PAGE_DIRTY);
  }
  if (left > 0) count_out(r, (int32_t)left);
}

/* Drops clean pages. results: DONE, or REFUSED if the page is no longer clean. At most FS_BATCH_PAGES pages. */
EXPORT uint32_t fs_drop(uint64_t at, uint32_t number, uint64_t pages_at, uint32_t n,
                        uint64_t results_at) {
  control *c = (control *)at;
  region *r = region_at(c, number);
  const uint32_t *pages = (const uint32_t *)pages_at;
  uint8_t *results = (uint8_t *)results_at;
  uint32_t claimed[FS_BATCH_PAGES];
  struct iovec ranges[FS_BATCH_PAGES];
  uint32_t kept[FS_BATCH_PAGES / 32];
  uint32_t m = 0;
  for (uint32_t i = 0; i < n; i++) {
    results[i] = swap8(&states(r)[pages[i]], FS_PAGE_CLEAN, FS_PAGE_BUSY) ? DONE : REFUSED;
    if (results[i] == DONE) claimed[m++] = pages[i];
  }
  if (m == 0) return 0;
  uint32_t dropped = drop_claimed(c, r, claimed, m, ranges, kept);
  for (uint32_t i = 0, at = 0; i < n; i++)
    if (results[i] == DONE && has_bit(kept, at++)) results[i] = REFUSED;
  return dropped;
}

/* Claims a page in any state and returns the state. */
static uint8_t claim(uint8_t *state) {
  for (int tries = 0;; tries++) {
    uint8_t now = load(state);
    if (now != FS_PAGE_BUSY && swap8(state, now, FS_PAGE_BUSY)) return now;
    wait_turn(tries);
  }
}

static int is_resident(uint8_t state) {
  return state == FS_PAGE_DIRTY || state == FS_PAGE_CLEAN || state == FS_PAGE_EVICTING;
}

/* Makes pages [from, to) absent: they read as zeros. The engine frees their entries. */
EXPORT void fs_discard(uint64_t at, uint32_t number, uint32_t from, uint32_t to) {
  control *c = (control *)at;
  region *r = region_at(c, number);
  uint8_t before[FS_BATCH_PAGES];
  struct iovec ranges[FS_BATCH_PAGES];
  uint32_t leaving[FS_BATCH_PAGES];
  uint32_t kept[FS_BATCH_PAGES / 32];
  for (uint32_t first = from; first < to;) {
    uint32_t n = to - first < FS_BATCH_PAGES ? to - first : FS_BATCH_PAGES;
    uint32_t out = 0;
    int32_t resident = 0;
    for (uint32_t i = 0; i < n; i++) {
      before[i] = claim(&states(r)[first + i]);
      resident += is_resident(before[i]);
      if (!is_resident(before[i]) && before[i] != FS_PAGE_LOST) continue;
      leaving[out++] = first + i;
    }
    if (is_filed(r)) unmap_pages(c, r, leaving, out);
    if (out > 0) drop_pages(c, r, leaving, out, ranges, kept);
    for (uint32_t i = 0; i < n; i++) {
      store(&states(r)[first + i], FS_PAGE_ABSENT);
      if (before[i] != FS_PAGE_ASKED) continue;
      if (!is_filed(r)) wake(c, address_of(r, first + i), PAGE);
      ask_ends(c);
    }
    if (resident > 0) count_out(r, resident);
    first += n;
  }
}

/*
 * Installs a page that the engine has read. Returns DONE; REFUSED if it is neither stored nor asked for; GONE if it is
 * not mapped; BUSY to try again.
 */
EXPORT int32_t fs_install(uint64_t at, uint32_t number, uint32_t page, uint64_t from,
                          int32_t is_writable) {
  control *c = (control *)at;
  region *r = region_at(c, number);
  uint8_t *state = &states(r)[page];
  uint8_t before = claim(state);
  if (before != FS_PAGE_STORED && before != FS_PAGE_ASKED) {
    store(state, before);
    return REFUSED;
  }
  int error = 0;
  is_writable |= is_filed(r);
  if (pages_in(c, r, page, from, 1, is_writable ? 0 : COPY_MODE_WP, &error) == 1) {
    count_in(c, r, 1);
    store(state, is_writable ? FS_PAGE_DIRTY : FS_PAGE_CLEAN);
    if (before == FS_PAGE_ASKED) ask_ends(c);
    return DONE;
  }
  /* The engine frees the slot of a page that is gone, so a single error is not enough to decide it. */
  int is_gone = !is_filed(r) && (error == ESRCH || (error == ENOENT && protect(c, address_of(r, page), PAGE, 0) == ENOENT));
  store(state, before);
  return is_gone ? GONE : BUSY;
}

/* Changes the state of a page without changing memory. Returns 0 if it was in another state. */
EXPORT int32_t fs_change(uint64_t at, uint32_t number, uint32_t page, uint32_t from, uint32_t to) {
  control *c = (control *)at;
  region *r = region_at(c, number);
  if (!change(&states(r)[page], (uint8_t)from, (uint8_t)to)) return 0;
  if (from == FS_PAGE_ASKED) ask_ends(c);
  if (is_filed(r)) return 1; /* faulting threads check the state themselves */
  if (to == FS_PAGE_LOST) poison(c, address_of(r, page));
  if (to == FS_PAGE_STORED || to == FS_PAGE_ABSENT) wake(c, address_of(r, page), PAGE);
  return 1;
}

/*
 * Waits until no fault uses an index or a region that was replaced before. Two threads may be here: the engine and the
 * one that ends the process. Each waits for both counts, because the other one also moves the epoch.
 */
static void synchronize(control *c) {
  for (uint32_t waited = 0; waited != 3;) {
    uint32_t old = add(&c->epoch, 1) & 1;
    for (int tries = 0; __atomic_load_n(&c->readers[old], __ATOMIC_SEQ_CST) != 0; tries++) wait_turn(tries);
    waited |= 1u << old;
  }
}

EXPORT void fs_synchronize(uint64_t at) { synchronize((control *)at); }

/* From now on, the shards may be unmapped: waits until no fault reads them unguarded. */
EXPORT void fs_guard(uint64_t at) {
  control *c = (control *)at;
  __atomic_store_n(&c->isGuarded, 1, __ATOMIC_SEQ_CST);
  synchronize(c);
}
