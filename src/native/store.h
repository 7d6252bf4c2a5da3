/*
 * Reading stored pages: compressed RAM without a lock, and swap files. Part of faults.c.
 *
 *   RAM    row ▶ copy the object ▶ verify the copy ▶ decompress     repeat if the row changed
 *   file   zero bit? ▶ pread(2) of all its pages ▶ verify each
 *
 * A page that cannot be read, or fails its checksum, is left to JavaScript, which reads it again without a race and
 * decides whether the page is lost.
 */

#define ROW_TRIES 1000
#define READ_TRIES 100

/*
 * Copies bytes of a shard. Returns 0 if they are no longer mapped; -1 if the system call failed for any other reason.
 */
static int fetch(control *c, void *to, uint64_t from, uint32_t bytes) {
  if (load(&c->isGuarded)) {
    struct iovec into = {(uint64_t)to, bytes};
    struct iovec of = {from, bytes};
    long r = sys_or_fail(c, FS_CALL_VM_READV, SYS_process_vm_readv, c->pid, (long)&into, 1, (long)&of, 1, 0);
    if (r == (long)bytes) return 1;
    return r >= 0 || r == -EFAULT ? 0 : -1;
  }
  memcpy(to, (const void *)from, bytes);
  return 1;
}

/* What load_pages() returns after fetch() has failed. */
static int unread(int fetched) { return fetched == 0 ? -1 : 0; }

static uint32_t word_check(uint32_t low, uint32_t high, uint32_t slot) {
  uint32_t h = (low ^ slot * 0x9e3779b1u) * 0x85ebca6bu;
  h = ((h ^ (h >> 15)) + high) * 0xc2b2ae35u;
  return h >> 19;
}

/* Byte offset of an object in its shard, or 0 if it is not inside. */
static uint64_t locate(control *c, const struct fs_shard *shard, uint32_t location,
                       uint32_t length) {
  uint32_t zspage = location >> 7;
  uint32_t words[2];
  if (zspage == 0 || zspage >= shard->zspageCount) return 0;
  if (fetch(c, words, shard->base + shard->zspages + (uint64_t)zspage * 32 + 8, 8) != 1) return 0;
  uint32_t cls = words[1] >> 8;
  uint64_t at = (uint64_t)words[0] * PAGE;
  if (cls >= c->classCount) return 0;
  if (cls != c->fullPage) at += (uint64_t)(location & 127) * c->classBytes[cls] + 4;
  return at == 0 || at + length > shard->bytes ? 0 : at;
}

/* A workspace: pages to install, a block, planes, rows of bytes, with slack after each of the four. */
_Static_assert((FS_WINDOW_PAGES + 3) * PAGE + 4 * SLACK <= FS_WORKSPACE_PAGES * PAGE, "workspace");
static uint8_t *block_of(uint8_t *work) { return work + FS_WINDOW_PAGES * PAGE + SLACK; }

static int expand(uint32_t format, uint32_t length, uint8_t *work, uint8_t *page) {
  uint8_t *block = block_of(work);
  if (format == 2) {
    if (length != PAGE) return 0;
    copy16(page, block, PAGE);
    return 1;
  }
  if (format == 3) return lz4_decompress(block, (int32_t)length, page) == PAGE;
  if (format != 5) return 0;
  uint8_t *planes = block + PAGE + SLACK;
  uint8_t *rows = planes + PAGE + SLACK;
  if (lz4_decompress(block + 1, (int32_t)length - 1, planes) != PAGE) return 0;
  return from_planes(block[0], planes, rows, page) == PAGE;
}

/* Reads a page from compressed RAM, like load_pages(). */
static int load_object(control *c, uint32_t entry, uint8_t *work, uint8_t *page) {
  uint32_t slot = entry & ((1u << FS_OFFSET_BITS) - 1);
  if (slot >> FS_SHARD_SHIFT >= FS_SHARDS_MAX) return 0;
  const struct fs_shard *shard = &c->shards[slot >> FS_SHARD_SHIFT];
  uint32_t index = slot & ((1u << FS_SHARD_SHIFT) - 1);
  uint32_t row[3] = {0, 0, 0};
  uint32_t before = 0;
  uint32_t is_ready = load(&shard->isReady);
  uint64_t base = shard->base;
  for (int tries = 0; tries < ROW_TRIES; tries++) {
    int got = 1;
    if (is_ready && index < shard->slots)
      got = fetch(c, row, base + shard->rows + (uint64_t)index * 12, 12);
    if (got != 1) return unread(got);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    uint32_t format = row[2] >> 13 & 7;
    uint32_t length = row[2] & 0x1fff;
    if (row[2] == 0) {
      uint8_t bits;
      if (slot >= c->zeroSlots || fetch(c, &bits, c->zeroBits + (slot >> 3), 1) != 1) return 0;
      if (!(bits >> (slot & 7) & 1)) return 0;
      memset(page, 0, PAGE);
      return 1;
    }
    if (format == 1) {
      if (word_check(row[0], row[1], index) != length) return 0;
      uint64_t word = (uint64_t)row[1] << 32 | row[0];
      for (int i = 0; i < PAGE; i += 16) store16(page + i, (v2){word, word});
      return 1;
    }
    if (length == 0 || length > PAGE) return 0;
    if (tries > 0 && row[0] == before) return 0;
    before = row[0];
    uint64_t at = locate(c, shard, row[0], length);
    if (at == 0) continue;
    uint8_t *block = block_of(work);
    got = fetch(c, block, base + at, length);
    if (got != 1) return unread(got);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (checksum(block, length, index ^ format * 0x9e3779b1u) == row[1])
      return expand(format, length, work, page);
  }
  return 0;
}

/* ---- swap files ---- */

static int is_in_file(uint32_t entry) { return entry >> FS_OFFSET_BITS != FS_RAM_AREA; }

/* Reads bytes of a file to full pages (O_DIRECT). Returns how many were read before an error or the end of the file. */
static uint32_t read_file(control *c, int fd, uint8_t *to, uint32_t bytes, uint64_t at) {
  uint32_t done = 0;
  for (int tries = 0; done < bytes && tries < READ_TRIES; tries++) {
    long r = sys_or_fail(c, FS_CALL_PREAD, SYS_pread64, fd, (long)(to + done), bytes - done, (long)(at + done), 0, 0);
    if (r == -EINTR || r == -EAGAIN) continue;
    if (r <= 0) break;
    done += (uint32_t)r;
  }
  return done;
}

/* Reads the pages of `n` consecutive slots of a file, like load_pages(). */
static int load_file(control *c, uint32_t entry, uint32_t n, uint8_t *pages) {
  uint32_t slot = entry & ((1u << FS_OFFSET_BITS) - 1);
  const struct fs_area *area = &c->areas[entry >> FS_OFFSET_BITS];
  uint32_t sums[FS_WINDOW_PAGES];
  uint8_t zero[FS_WINDOW_PAGES];
  uint32_t zeros = 0;
  if (entry >> FS_OFFSET_BITS >= FS_AREAS_MAX || !load(&area->isReady)) return 0;
  if (slot >= area->slots || n > area->slots - slot || n > FS_WINDOW_PAGES) return 0;
  for (uint32_t i = 0; i < n; i++) {
    uint8_t bits;
    int got = fetch(c, &bits, area->zeroBits + ((slot + i) >> 3), 1);
    if (got != 1) return unread(got);
    zeros += zero[i] = bits >> ((slot + i) & 7) & 1;
  }
  int got = fetch(c, sums, area->sums + (uint64_t)slot * 4, n * 4);
  if (got != 1) return unread(got);
  uint32_t read = 0;
  if (zeros < n) read = read_file(c, area->fd, pages, n * PAGE, (uint64_t)slot * PAGE) / PAGE;
  for (uint32_t i = 0; i < n; i++) {
    uint8_t *page = pages + (uint64_t)i * PAGE;
    if (zero[i]) memset(page, 0, PAGE);
    else if (i >= read || sums[i] == 0 || block_sum(page) != sums[i]) return (int)i;
  }
  return (int)n;
}

/*
 * Reads the pages of `n` consecutive entries, only one if they are in compressed RAM. Returns how many; 0 if JavaScript
 * must read the first, because it is damaged or could not be read; -1 if the store is no longer mapped.
 */
static int load_pages(control *c, uint32_t entry, uint32_t n, uint8_t *work, uint8_t *pages) {
  if ((entry & ((1u << FS_OFFSET_BITS) - 1)) == 0) return 0;
  if (is_in_file(entry)) return load_file(c, entry, n, pages);
  return load_object(c, entry, work, pages);
}

static int load_page(control *c, uint32_t entry, uint8_t *work, uint8_t *page) {
  return load_pages(c, entry, 1, work, page);
}
