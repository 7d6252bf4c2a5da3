/*
 * Pages of a memory file, for systems without userfaultfd: docs/design/native-faults.md. Part of faults.c.
 *
 *   the file    page 0 .. pages - 1, then its end
 *   the memory  a resident page is mapped at its place in the file; any other is mapped `pages` further, past the end
 *               of the file, where an access raises SIGBUS whatever the protection
 *
 * - A page whose state is resident may be unmapped: its bytes stay in the file, and the next access maps it again. So
 *   unmapping needs no claim, but mapping does.
 * - Each boundary between mapped and unmapped pages costs the kernel a mapping, and a process may have
 *   vm.max_map_count of them. Above a share of that, resident pages are unmapped, 64 at a time.
 * - Pages are not protected, because V8 makes a WebAssembly memory writable as a whole each time that it grows. A clean
 *   page has a stored copy and may have been written since: before it is dropped, it is compared with the copy.
 * - Only pages below `accessible` are mapped. V8 has not committed the others, and an access to them must trap.
 */

#define WORD_PAGES 64
/* How often a mapping is tried while the process has too many. */
#define MAP_TRIES 64

static int is_filed(region *r) { return r->mapped != 0; }

static uint64_t *marks(region *r) { return (uint64_t *)r->mapped; }
static uint64_t *pins(region *r) { return (uint64_t *)r->pinned; }

static int is_marked(region *r, uint32_t page) {
  return load(&marks(r)[page / WORD_PAGES]) >> (page % WORD_PAGES) & 1;
}

static int is_pinned(region *r, uint32_t page) {
  return load(&pins(r)[page / WORD_PAGES]) >> (page % WORD_PAGES) & 1;
}

/*
 * Marks pages before they are mapped and clears the marks after they are unmapped: more may be marked than are mapped.
 */
static void mark(region *r, uint32_t page, uint32_t n, int are_mapped) {
  for (uint32_t end = page + n; page < end;) {
    uint32_t bit = page % WORD_PAGES;
    uint32_t some = WORD_PAGES - bit < end - page ? WORD_PAGES - bit : end - page;
    uint64_t bits = (~0ull >> (WORD_PAGES - some)) << bit;
    if (are_mapped) __atomic_fetch_or(&marks(r)[page / WORD_PAGES], bits, __ATOMIC_ACQ_REL);
    else __atomic_fetch_and(&marks(r)[page / WORD_PAGES], ~bits, __ATOMIC_ACQ_REL);
    page += some;
  }
}

static uint32_t runs_in(uint64_t word) {
  uint32_t runs = 0;
  for (uint64_t starts = word & ~(word << 1); starts != 0; starts &= starts - 1) runs++;
  return runs;
}

static long try_map(control *c, region *r, uint32_t page, uint32_t n, int is_resident) {
  long flags = MAP_SHARED | MAP_FIXED | (is_resident ? MAP_POPULATE : 0);
  uint64_t at = ((uint64_t)page + (is_resident ? 0 : r->pages)) * PAGE;
  add(&c->maps, 2);
  return sys_or_fail(c, FS_CALL_MMAP, SYS_mmap, address_of(r, page), (long)n * PAGE, PROT_READ_WRITE, flags, r->fd, at);
}

/* ---- the number of mappings ---- */

static uint32_t words_of(region *r) { return (load(&r->accessible) + WORD_PAGES - 1) / WORD_PAGES; }

/* Approximate number of mappings of all regions. The caller is in an epoch, or is the engine. */
static uint32_t count_maps(control *c) {
  uint32_t which = __atomic_load_n(&c->index, __ATOMIC_SEQ_CST) & 1;
  uint32_t total = 0;
  for (uint32_t i = 0; i < load(&c->regionCount[which]); i++) {
    region *r = region_at(c, ((const uint32_t *)c->indexes[which])[i]);
    if (!is_filed(r)) continue;
    for (uint32_t w = 0, words = words_of(r); w < words; w++) total += 2 * runs_in(load(&marks(r)[w]));
    total += 2;
  }
  return total;
}

/* Unmaps words of the region with at least `least` runs until at most `target` mappings are left. */
static uint32_t thin_region(control *c, region *r, uint32_t least, uint32_t total, uint32_t target) {
  uint32_t words = words_of(r);
  for (uint32_t looked = 0; looked < words && total > target; looked++) {
    uint32_t w = r->thinAt++ % words;
    uint32_t runs = runs_in(load(&marks(r)[w]));
    uint32_t page = w * WORD_PAGES;
    uint32_t n = load(&r->accessible) - page;
    if (runs < least || load(&pins(r)[w]) != 0) continue;
    if (n > WORD_PAGES) n = WORD_PAGES;
    if (try_map(c, r, page, n, 0) < 0) continue;
    mark(r, page, n, 0);
    total -= total < 2 * runs ? total : 2 * runs;
  }
  return total;
}

/* Unmaps resident pages, the most scattered first. Skips pages that may have a new owner or are near a pinned page. */
static void thin(control *c, uint32_t target) {
  uint32_t which = __atomic_load_n(&c->index, __ATOMIC_SEQ_CST) & 1;
  uint32_t total = count_maps(c);
  for (uint32_t least = 16; least > 0 && total > target; least /= 4)
    for (uint32_t i = 0; i < load(&c->regionCount[which]) && total > target && !load(&c->isFrozen); i++) {
      region *r = region_at(c, ((const uint32_t *)c->indexes[which])[i]);
      if (is_filed(r)) total = thin_region(c, r, least, total, target);
    }
}

/*
 * Keeps the mappings below their share. `maps` counts each call as two new mappings, so they are counted again when it
 * exceeds the share; if nothing can be unmapped, only after an eighth of the share has been mapped again.
 */
static void limit_maps(control *c, uint32_t share) {
  if (!swap32(&c->isThinning, 0, 1)) return;
  uint32_t total = count_maps(c);
  if (total > share - share / 4) {
    thin(c, share / 2);
    total = count_maps(c);
  }
  uint32_t most = share - share / 8;
  store(&c->maps, total < most ? total : most);
  store(&c->isThinning, 0);
}

/* ---- mapping ---- */

/* Maps pages: claimed resident ones, or others past the end of the file. Returns 0 or an errno. */
static int map_run(control *c, region *r, uint32_t page, uint32_t n, int is_resident) {
  long result = 0;
  if (load(&c->maps) > c->mapsMax) limit_maps(c, c->mapsMax);
  if (is_resident) mark(r, page, n, 1);
  for (int tries = 0; tries < MAP_TRIES; tries++) {
    result = try_map(c, r, page, n, is_resident);
    if (result >= 0) break;
    limit_maps(c, c->mapsMax >> (tries < 8 ? tries : 8)); /* other code in the process has taken the rest */
    wait_turn(tries * 16);
  }
  if ((result >= 0) != is_resident) mark(r, page, n, 0);
  return result < 0 ? (int)-result : 0;
}

/* Claims a resident page that is not mapped; returns its state, or 0. */
static uint8_t claim_unmapped(region *r, uint32_t page) {
  uint8_t now = load(&states(r)[page]);
  int is_wanted = (now == FS_PAGE_DIRTY || now == FS_PAGE_CLEAN) && !is_marked(r, page);
  return is_wanted && swap8(&states(r)[page], now, FS_PAGE_BUSY) ? now : 0;
}

/* Maps a claimed page together with its unmapped resident neighbours. */
static void map_resident(control *c, region *r, uint32_t page) {
  uint8_t before[WORD_PAGES];
  uint32_t from = page;
  uint32_t to = page + 1;
  while (from % WORD_PAGES != 0 && (before[(from - 1) % WORD_PAGES] = claim_unmapped(r, from - 1)) != 0) from--;
  while (to % WORD_PAGES != 0 && to < r->pages && (before[to % WORD_PAGES] = claim_unmapped(r, to)) != 0) to++;
  map_run(c, r, from, to - from, 1); /* if that fails, the access faults again */
  for (uint32_t i = from; i < to; i++)
    if (i != page) store(&states(r)[i], before[i % WORD_PAGES]);
}

/* ---- what the program can access ---- */

/* A page raised SIGBUS, so it can be accessed, as can the others of its WebAssembly page. */
static void make_accessible(region *r, uint32_t page) {
  uint32_t to = (page | 15) + 1;
  if (to > r->pages) to = r->pages;
  uint32_t now = load(&r->accessible);
  while (now < to && !swap32(&r->accessible, now, to)) now = load(&r->accessible);
}

/*
 * The error of populating a page tells whether its access (EINVAL) or the end of the file (EFAULT) forbids it. Linux
 * 5.14.
 */
static int is_accessible(region *r, uint32_t page) {
  if (!is_filed(r) || page < load(&r->accessible)) return 1;
  if (sys(SYS_madvise, address_of(r, page), PAGE, MADV_POPULATE_READ) != -EFAULT) return 0;
  make_accessible(r, page);
  return 1;
}

/* How many of the pages after the page can be accessed. */
static uint32_t accessible_ahead(region *r, uint32_t page, uint32_t ahead) {
  if (is_accessible(r, page + ahead)) return ahead;
  uint32_t end = load(&r->accessible);
  return end > page ? end - page - 1 : 0;
}

/* ---- bytes of pages ---- */

/* Copies claimed pages in. Returns how many, and in *error why not all. */
static uint32_t pages_in(control *c, region *r, uint32_t page, uint64_t from, uint32_t n, uint64_t mode, int *error) {
  if (!is_filed(r))
    return (uint32_t)(copy_in(c, address_of(r, page), from, (uint64_t)n * PAGE, mode, error) / PAGE);
  long done = 0;
  long bytes = (long)n * PAGE;
  *error = 0;
  for (int tries = 0; done < bytes && tries < MAP_TRIES; tries++) {
    long r_ = sys_or_fail(c, FS_CALL_PWRITE, SYS_pwrite64, r->fd, (long)from + done, bytes - done,
                          (long)page * PAGE + done, 0, 0);
    if (r_ > 0) done += r_;
    else if (r_ != -EINTR && r_ != -EAGAIN) {
      *error = (int)-r_;
      break;
    }
  }
  n = (uint32_t)(done / PAGE);
  if (n == 0) return 0;
  *error = map_run(c, r, page, n, 1);
  return *error == 0 ? n : 0;
}

static uint32_t zero_pages_in(control *c, region *r, uint32_t page, uint32_t n, int are_written, int *error) {
  if (!is_filed(r))
    return (uint32_t)(zeros_in(c, address_of(r, page), (uint64_t)n * PAGE, are_written, error) / PAGE);
  *error = map_run(c, r, page, n, 1);
  return *error == 0 ? n : 0;
}

/* The end of the run of consecutive pages. */
static uint32_t run_end(const uint32_t *pages, uint32_t i, uint32_t n) {
  uint32_t end = i + 1;
  while (end < n && pages[end] == pages[end - 1] + 1) end++;
  return end;
}

/* Unmaps claimed pages, ascending. Returns 0 if some may still be mapped. */
static int unmap_pages(control *c, region *r, const uint32_t *pages, uint32_t n) {
  int is_done = 1;
  for (uint32_t i = 0, end; i < n; i = end) {
    end = run_end(pages, i, n);
    is_done &= map_run(c, r, pages[i], end - i, 0) == 0;
  }
  return is_done;
}

/* drop_pages() for claimed unmapped pages: their memory is free when it returns. */
static uint32_t punch_pages(control *c, region *r, const uint32_t *pages, uint32_t n, uint32_t *kept) {
  uint32_t out = 0;
  memset(kept, 0, FS_BATCH_PAGES / 8);
  for (uint32_t i = 0, end; i < n; i = end) {
    end = run_end(pages, i, n);
    long failed = -1;
    for (int tries = 0; failed != 0 && tries < MAP_TRIES; tries++)
      failed = sys_or_fail(c, FS_CALL_PUNCH, SYS_fallocate, r->fd, PUNCH_HOLE_KEEP_SIZE, (long)pages[i] * PAGE,
                           (long)(end - i) * PAGE, 0, 0);
    if (failed == 0) out += end - i;
    else
      for (uint32_t j = i; j < end; j++) kept[j >> 5] |= 1u << (j & 31);
  }
  return out;
}

/* The engine has ended: pages that are not resident are ordinary memory, zeros, from now on. */
static void end_files(control *c) {
  uint32_t which = __atomic_load_n(&c->index, __ATOMIC_SEQ_CST) & 1;
  uint32_t epoch = __atomic_load_n(&c->epoch, __ATOMIC_SEQ_CST) & 1;
  add(&c->readers[epoch], 1);
  for (uint32_t i = 0; i < load(&c->regionCount[which]); i++) {
    region *r = region_at(c, ((const uint32_t *)c->indexes[which])[i]);
    if (!is_filed(r)) continue;
    if (!load(&c->isFrozen)) /* resident pages may be unmapped; the others read as zeros */
      sys6(SYS_mmap, (long)r->address, (long)load(&r->accessible) * PAGE, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED, r->fd, 0);
    sys(SYS_ftruncate, r->fd, (long)r->pages * 2 * PAGE, 0);
  }
  add(&c->readers[epoch], -1);
}
